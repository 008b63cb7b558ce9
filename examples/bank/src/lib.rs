//! Bank operations of French homes, and categorisers of them that are trained in one place.
//!
//! Everything is drawn from a seed: no bank's data is in here.

pub mod central;
pub mod files;
pub mod generate;

/// What operations are sorted into.
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

/// One operation on a home's account.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The home's number.
    pub home: usize,
    /// The day, as YYYY-MM-DD.
    pub date: String,
    /// The label as the bank wrote it.
    pub original: String,
    /// The same in lower case, with a word in the place of each date and number.
    pub label: String,
    /// In euros; below 0 what is paid.
    pub amount: f64,
    /// A number of [`CATEGORIES`].
    pub category: usize,
}

impl Operation {
    /// By sign and size.
    pub fn size(&self) -> usize {
        match self.amount {
            amount if amount > 0.0 => 0,
            amount if amount > -20.0 => 1,
            amount if amount > -100.0 => 2,
            _ => 3,
        }
    }
}

/// A label without what names an account or a day: dates and numbers become words.
pub fn sanitise(original: &str) -> String {
    let word = |word: &str| -> String {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        if digits == 0 {
            return word.to_lowercase();
        }
        let signs = word.chars().filter(|sign| "/.-".contains(*sign)).count();
        let dated = matches!((digits, signs), (4, 1) | (4..=8, 2));
        (if dated { "date" } else { "number" }).to_owned()
    };
    let words: Vec<String> = original.split_whitespace().map(word).collect();
    words.join(" ")
}
