"""The step promote: the rules by which an ensemble becomes champion."""
