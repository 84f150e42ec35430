"""The tick that moves every series on, stage by stage."""
