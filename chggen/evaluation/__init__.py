"""Known-cell recovery: does the generator find crystals that are known (docs/evaluation.md)?"""
