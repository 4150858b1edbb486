"""`python -m memreason`, which launchers of several processes can start."""

from memreason.cli import main

if __name__ == "__main__":
    main()
