"""`python -m resnet_helpers` lists the commands of this package."""

COMMANDS = {
    "train": "train a network on Fashion-MNIST, with checkpoints, on one machine or several",
    "benchmark": "the article's training loop against this package's, on your machine",
    "publish": "the notebooks as web pages, slides or a folder for a class",
    "check.grade": "which exercises are solved in a folder of students' notebooks",
}

if __name__ == "__main__":
    print("Commands, each with --help:\n")
    for name, purpose in COMMANDS.items():
        print(f"  python -m resnet_helpers.{name:12} {purpose}")
    print("\nThe course itself is in notebooks/: `jupyter lab notebooks`.")
