"""Parameters of the methods, without torch: the command reads them before it computes."""
