"""`python -m grokked_reasoning`, which launchers of several processes can start."""

from grokked_reasoning.cli import main

if __name__ == "__main__":
    main()
