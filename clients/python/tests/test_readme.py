"""The programs of README.md run as they stand there."""

import contextlib
import io
import os
import pathlib
import re
import sqlite3
import tempfile

from .server import ADDRESS, ServerTest

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


class ReadmeTest(ServerTest):
    def test_programs_write_read_and_record(self):
        programs = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        self.assertEqual(len(programs), 2)
        names, printed = {}, io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(printed):
            self.addCleanup(os.chdir, os.getcwd())
            os.chdir(folder)
            for program in programs:
                program = program.replace("localhost:13579", ADDRESS).replace('"Car"', f'"{self.data_source}"')
                exec(compile(program, str(README), "exec"), names)
            with contextlib.closing(sqlite3.connect("sessions.sqlite")) as file:
                samples = file.execute("SELECT parameter, value FROM parameter_sample WHERE session = 'FP1' ORDER BY timestamp").fetchall()
            os.chdir("/")
        names["api"].close()
        self.assertEqual(
            printed.getvalue().splitlines(),
            ["2025-03-16 15:00:00+00:00 {'vCar': 71.3}", "2025-03-16 15:00:00.010000+00:00 {'vCar': 72.1}",
             "2025-03-16 15:00:00.020000+00:00 {'vCar': 72.8}"])
        self.assertEqual(samples, [("vCar", 71.3), ("vCar", 72.1), ("vCar", 72.8)])
