"""The command line ``tinyclap``: one module a command, imported when it is asked for."""
