//! The Concept Indexor: evaluates its share of the pseudonym function, blindly.
