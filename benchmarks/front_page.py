"""Picture and report at the head of README: one real table, built-in log loss and focal loss side by side.

What examples/fraud_detection.py prints and draws, for a table whose name is given; reads it from the folder that
FOCAL_BOOST_DATA names. Writes results/front_page.md and results/front_page.png:

    python benchmarks/front_page.py
"""
