"""`turnout init`: an operations repository of a team's own, with everything but its hosts and its application."""
