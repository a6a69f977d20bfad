-- A file of layout 1, as the writer of that version left it.
CREATE TABLE session (
    id INTEGER PRIMARY KEY, identifier TEXT NOT NULL, data_source TEXT NOT NULL, is_closed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (identifier, data_source));
CREATE TABLE session_detail (
    session INTEGER NOT NULL REFERENCES session, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (session, name)) WITHOUT ROWID;
CREATE TABLE parameter (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, identifier TEXT NOT NULL, name TEXT, application_name TEXT,
    description TEXT, groups TEXT, units TEXT, data_type TEXT, format_string TEXT, min_value REAL, max_value REAL, warning_min_value REAL,
    warning_max_value REAL, UNIQUE (session, identifier));
CREATE TABLE event (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, identifier TEXT NOT NULL, name TEXT, application_name TEXT,
    description TEXT, groups TEXT, priority TEXT, units TEXT, UNIQUE (session, identifier));
CREATE TABLE parameter_group (
    session INTEGER NOT NULL REFERENCES session, identifier TEXT NOT NULL, parent TEXT NOT NULL, name TEXT, application_name TEXT,
    description TEXT, PRIMARY KEY (session, identifier, parent)) WITHOUT ROWID;
CREATE TABLE sample (
    parameter INTEGER NOT NULL REFERENCES parameter, timestamp INTEGER NOT NULL, value, status INTEGER NOT NULL,
    PRIMARY KEY (parameter, timestamp)) WITHOUT ROWID;
CREATE TABLE event_occurrence (
    event INTEGER NOT NULL REFERENCES event, timestamp INTEGER NOT NULL, raw_values TEXT NOT NULL, PRIMARY KEY (event, timestamp)) WITHOUT ROWID;
CREATE TABLE marker (
    session INTEGER NOT NULL REFERENCES session, timestamp INTEGER NOT NULL, end_time INTEGER, label TEXT NOT NULL, type TEXT NOT NULL,
    description TEXT, source TEXT, value INTEGER, PRIMARY KEY (session, timestamp, type, label)) WITHOUT ROWID;
CREATE VIEW parameter_sample AS
    SELECT session.identifier AS session, parameter.identifier AS parameter, sample.timestamp, sample.value, sample.status
    FROM sample JOIN parameter ON parameter.id = sample.parameter JOIN session ON session.id = parameter.session;
PRAGMA user_version = 1;
INSERT INTO session (identifier, data_source, is_closed) VALUES ('FP1', 'Car', 1);
INSERT INTO parameter (session, identifier) VALUES (1, 'vCar');
INSERT INTO event (session, identifier) VALUES (1, 'Gear');
INSERT INTO sample VALUES (1, 100, 1, 1);
INSERT INTO event_occurrence VALUES (1, 100, '[1]');
INSERT INTO marker VALUES (1, 100, NULL, 'Lap 1', 'Lap', '', '', 1);
