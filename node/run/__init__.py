"""The node's processes: started, watched, their heartbeat and their health."""
