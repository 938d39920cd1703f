"""Work as tasks: functions over plain records, what these name, and where they are run."""
