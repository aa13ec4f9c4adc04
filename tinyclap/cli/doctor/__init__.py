"""What is wrong with an installation, and the command that mends it: the checks behind ``tinyclap doctor``.

Nothing here imports torch, numpy or any other library into its own process: a broken one must not break the doctor.
"""
