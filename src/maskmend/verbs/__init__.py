"""One module per verb, each with one function of the same name. `from maskmend import train` is the short way in."""
