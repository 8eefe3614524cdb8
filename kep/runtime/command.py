"""How a task's command starts Python; what predicts and serves knows it without kfp, which it has not."""

EXECUTOR = "kfp.dsl.executor_main"
"""kfp's executor, which runs a component."""
FIRST_PROCESS = "kep.runtime.task"
"""The module that a task's command runs, with kfp's executor and its arguments."""
START = "exec env _KFP_RUNTIME=true python3"
"""How the shell of a step's command goes on as Python."""
