"""Forks a process per line of stdin that runs the toy stage in the folder named there; says its id, then its end."""

import json
import os
import sys

import toy_stage
from toy_cli import CountOptions

options = CountOptions.model_validate(json.loads(sys.argv[1]))
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.chdir(line.strip())
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        toy_stage.count(options)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
