"""Runs that come again and again: what is to run when (`store`), one such run (`runs`), and who starts it (`serve`)."""
