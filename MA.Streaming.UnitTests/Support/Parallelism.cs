// The fixtures that run in parallel wait for Kafka, for disks and for other processes most of the time: more of them than cores.
[assembly: NUnit.Framework.LevelOfParallelism(4)]
