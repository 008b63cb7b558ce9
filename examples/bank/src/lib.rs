//! Bank operations of French homes, and models that sort them into categories, trained in one place.
//!
//! All operations are drawn from a seed. No real bank's data is included.

pub mod central;
pub mod files;
pub mod generate;

/// Categories of operations.
pub const CATEGORIES: [&str; 14] = [
    "groceries",
    "restaurants",
    "fuel",
    "transport",
    "housing",
    "energy",
    "telecom",
    "insurance",
    "health",
    "leisure",
    "clothing",
    "taxes",
    "cash",
    "income",
];

/// An operation on a home's account.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Number of the home.
    pub home: usize,
    /// Day, as YYYY-MM-DD.
    pub date: String,
    /// Label as the bank wrote it.
    pub original: String,
    /// Label in lower case, with a word in place of each date and number.
    pub label: String,
    /// Amount in euros, negative for a payment.
    pub amount: f64,
    /// Index into [`CATEGORIES`].
    pub category: usize,
}

impl Operation {
    /// Returns the size of the amount: 0 for income, then 1 to 3 by the size of a payment.
    pub fn size(&self) -> usize {
        match self.amount {
            amount if amount > 0.0 => 0,
            amount if amount > -20.0 => 1,
            amount if amount > -100.0 => 2,
            _ => 3,
        }
    }
}

/// Removes from a label what identifies an account or a day: dates and numbers become words.
pub fn sanitise(original: &str) -> String {
    let words: Vec<String> = original.split_whitespace().map(sanitise_word).collect();
    words.join(" ")
}

fn sanitise_word(word: &str) -> String {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    if digits == 0 {
        return word.to_lowercase();
    }
    let signs = word.chars().filter(|sign| "/.-".contains(*sign)).count();
    // Day and month have 4 digits and one separator. With a year there are two separators.
    let dated = matches!((digits, signs), (4, 1) | (4..=8, 2));
    // Words are hashed into buckets. Dates and numbers differ in every label and would only fill buckets
    // with noise.
    (if dated { "date" } else { "number" }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_names_an_account_or_a_day_is_left_of_a_label() {
        for (original, expected) in [
            ("CB CARREFOUR 12/03", "cb carrefour date"),
            ("VIR SEPA 12.03.2026 LOYER", "vir sepa date loyer"),
            ("PRLV EDF 0123456789", "prlv edf number"),
            ("RETRAIT DAB 49701234", "retrait dab number"),
        ] {
            assert_eq!(sanitise(original), expected);
        }
    }

    #[test]
    fn operations_are_drawn_again_from_their_seed_and_sorted_into_every_category() {
        let (held, new) = generate::operations(40, 7);
        assert_eq!(
            (&held, &new),
            (
                &generate::operations(40, 7).0,
                &generate::operations(40, 7).1
            )
        );
        assert_ne!(held, generate::operations(40, 8).0);
        for category in 0..CATEGORIES.len() {
            assert!(
                held.iter().any(|one| one.category == category),
                "{category}"
            );
        }
        for one in held.iter().chain(&new) {
            assert!(one.home < 40 && one.date.len() == 10 && one.amount.is_finite());
            assert!(
                !one.label
                    .chars()
                    .any(|sign| sign.is_ascii_digit() && one.label.contains('/'))
            );
        }
    }

    #[test]
    fn a_home_alone_knows_less_than_all_together() {
        let (held, new) = generate::operations(60, 1);
        let bayes = |of: &[Operation]| central::naive_bayes(of, 512);
        let (alone, all) = (
            central::alone(&held, &new, bayes),
            bayes(&held).accuracy(&new),
        );
        assert!(all > alone + 0.15, "{alone} {all}");
        assert!(all > 0.8, "{all}");
    }

    #[test]
    fn what_is_written_is_read_again_and_damage_is_named() {
        let folder = std::env::temp_dir().join(format!("bank-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("operations.csv");
        let held = generate::operations(3, 1).0;
        files::write(&path, &held).unwrap();
        assert_eq!(files::read(&path).unwrap().len(), held.len());
        std::fs::write(&path, "home,label\n1,x\n").unwrap();
        let refused = files::read(&path).unwrap_err().to_string();
        assert!(refused.contains("columns"), "{refused}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
