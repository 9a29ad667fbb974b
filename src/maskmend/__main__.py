"""`python -m maskmend`, and `torchrun -m maskmend train …` for several ranks."""

from .cli import main

if __name__ == "__main__":
    main()
