"""`python -m gql_imgproc` runs `gql-imgproc`."""

from gql_imgproc.cli import main

if __name__ == "__main__":
    main()
