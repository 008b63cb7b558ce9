//! The Target Finder: evaluates the target profile on sealed lists.
