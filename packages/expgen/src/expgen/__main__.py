"""`python -m expgen`, which launchers of several processes can start."""

from expgen.cli import main

if __name__ == "__main__":
    main()
