//! Suggestions for names that do not exist.

/// Largest number of names suggested.
const SUGGESTIONS: usize = 5;

/// Returns `did you mean a, b?` with the names nearest to `name`. If no name is near, lists known names; if
/// there are none, returns `otherwise`.
pub(super) fn did_you_mean<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    let wanted = name.to_lowercase();
    let mut ranked: Vec<(usize, &str)> = known
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase()), candidate))
        .collect();
    ranked.sort();
    let near: Vec<&str> = ranked
        .iter()
        // Up to half of the letters may differ, and 2 letters of a short name.
        .take_while(|(distance, _)| *distance <= 2.max(wanted.chars().count() / 2))
        .map(|(_, candidate)| *candidate)
        .take(SUGGESTIONS)
        .collect();
    if !near.is_empty() {
        return format!("did you mean {}?", near.join(", "));
    }
    match ranked.is_empty() {
        true => otherwise.to_owned(),
        false => {
            let mut all: Vec<&str> = ranked.iter().map(|(_, candidate)| *candidate).collect();
            all.sort_unstable();
            let more = if all.len() > 12 { ", …" } else { "" };
            all.truncate(12);
            format!("there are {}{more}", all.join(", "))
        }
    }
}

/// Returns the Levenshtein distance, or 1 if one name contains the other.
fn distance(a: &str, b: &str) -> usize {
    if a.len() >= 3 && b.contains(a) || b.len() >= 3 && a.contains(b) {
        return 1;
    }
    // The work grows with the product of the lengths, and both names come from a query or a catalogue of any
    // length.
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let known = || ["sex>female", "sex>male", "asthma>1"].into_iter();
        assert!(did_you_mean("sex>femal", known(), "").starts_with("did you mean sex>female"));
        assert_eq!(
            did_you_mean("qwertyuiop", known(), ""),
            "there are asthma>1, sex>female, sex>male"
        );
        assert_eq!(did_you_mean("x", [].into_iter(), "none"), "none");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
