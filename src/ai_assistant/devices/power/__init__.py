"""Power and heat: what the engines may use, what the system is set to, what a token costs.

`modes` and `throttle` decide, `levers` names settings of the system, `meter` and `heat` read
sensors, `keeper` acts.
"""
