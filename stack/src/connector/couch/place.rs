//! Addresses of the documents of homes: one for each home and doctype.

use std::collections::BTreeMap;

use dispers_core::subscription::HomeId;
use reqwest::Url;

use super::config::Kind;
use crate::http;

const HOME: &str = "{home}";
const DOCTYPE: &str = "{doctype}";

/// Returns the address of the documents of a home. Returns `None` if the names do not fit into the template.
pub(super) fn place(kind: Kind, template: &str, home: &HomeId, doctype: &str) -> Option<Url> {
    // Dots lead out of a path, even when encoded; with an empty home, the text after it would become the host.
    if [home.0.as_str(), doctype]
        .iter()
        .any(|part| matches!(*part, "" | "." | ".."))
    {
        return None;
    }
    let name = match kind {
        // Names of CouchDB's databases have no upper case letters and no dots.
        Kind::Couchdb => doctype.to_lowercase().replace('.', "-"),
        Kind::Cozy => doctype.to_owned(),
    };
    let url = template.replace(HOME, &encoded(&home.0));
    let url = url.replace(DOCTYPE, &encoded(&name));
    let url = url.trim_end_matches('/');
    let place = match kind {
        Kind::Couchdb => format!("{url}/_find"),
        Kind::Cozy => format!("{url}/data/{}/_find", encoded(doctype)),
    };
    let url = Url::parse(&place).ok()?;
    // Checked again for this home, whose id may be a part of the host.
    http::is_confidential(&url).then_some(url)
}

/// Encodes a part of a URL's path.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// Checks that a template cannot make the stack read documents from a wrong place, or send credentials there.
///
/// # Errors
/// The mistake in the template, and what to write instead.
pub(super) fn check_template(kind: Kind, template: &str, of_all: bool) -> Result<(), String> {
    let shown = http::shown(template);
    let url = template.replace(HOME, "home").replace(DOCTYPE, "doctype");
    let parsed = Url::parse(&url).ok();
    let Some(parsed) = parsed.filter(http::is_confidential) else {
        return Err(format!(
            "{shown} is not an address, or would send credentials in clear: write https://…, or http to this machine"
        ));
    };
    // Credentials belong into the file of homes, which other users must not be able to read.
    if http::has_credentials(&parsed) {
        return Err(format!(
            "{shown} contains a user or password: write those of each home in the file of homes"
        ));
    }
    // The path that is added at the end would become a part of the query or the fragment.
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(format!(
            "{shown} contains ? or #, and an address of documents has no ? and no #: write {HOME} in its path or host"
        ));
    }
    if url.contains(['{', '}']) {
        return Err(format!(
            "{shown} contains other braces than {HOME} and {DOCTYPE}: remove them"
        ));
    }
    if of_all && !template.contains(HOME) {
        return Err(format!(
            "{shown} is the same for every home, so that all homes would read one person's documents: write {HOME} in it, \
             as in https://couch.example.org/{HOME}-{DOCTYPE}, or https://{HOME} for Cozys"
        ));
    }
    if kind == Kind::Couchdb && !template.contains(DOCTYPE) {
        return Err(format!(
            "{shown} is the same for every doctype, so that one would be read as another: write {DOCTYPE} in it, as in \
             https://couch.example.org/{HOME}-{DOCTYPE}"
        ));
    }
    Ok(())
}

/// Addresses that homes have so far.
#[derive(Default)]
pub(super) struct Taken(BTreeMap<String, String>);

impl Taken {
    /// Reserves the address of a home.
    ///
    /// # Errors
    /// The reason: the home has no address, or another home has the same.
    pub(super) fn take(&mut self, kind: Kind, template: &str, home: &str) -> Result<(), String> {
        let id = HomeId(home.to_owned());
        let url = place(kind, template, &id, "doctype").ok_or_else(|| {
            format!("home {home:?} has no address, since its id does not fit into the url: give it a url of its own")
        })?;
        match self.0.insert(folded(&url), home.to_owned()) {
            None => Ok(()),
            Some(other) => Err(format!(
                "homes {other:?} and {home:?} have the same address, so that one would be read for the other: give each \
                 its own"
            )),
        }
    }
}

/// Returns the same text for every way to write an address. Case is ignored even in the path, since some servers
/// ignore it.
fn folded(url: &Url) -> String {
    let text = url.as_str();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_leads_every_home_or_doctype_to_one_place_is_refused() {
        for (kind, template, words) in [
            (
                Kind::Couchdb,
                "https://c.org/one-{doctype}",
                "same for every home",
            ),
            (Kind::Cozy, "https://alice.cozy.org", "same for every home"),
            (
                Kind::Couchdb,
                "http://127.0.0.1:5984/{home}",
                "same for every doctype",
            ),
            (Kind::Couchdb, "https://c.org/{Home}-{doctype}", "braces"),
            (Kind::Couchdb, "https://c.org/{home}-{doc}", "braces"),
            (
                Kind::Couchdb,
                "https://c.org/{doctype}?db={home}",
                "no ? and no #",
            ),
            (
                Kind::Couchdb,
                "https://c.org/{doctype}#{home}",
                "no ? and no #",
            ),
            (
                Kind::Couchdb,
                "https://{home}:hush@c.org/{doctype}",
                "user or password",
            ),
            (
                Kind::Couchdb,
                "https://hush@c.org/{home}{doctype}",
                "user or password",
            ),
            (Kind::Cozy, "http://{home}", "in clear"),
            (Kind::Cozy, "http://127.0.0.{home}", "in clear"),
            (Kind::Cozy, "http://{home}@127.0.0.1", "user or password"),
        ] {
            let refused = check_template(kind, template, true).unwrap_err();
            assert!(refused.contains(words), "{template}: {refused}");
            assert!(!refused.contains("hush"), "{refused}");
        }
        for (kind, template) in [
            (Kind::Couchdb, "https://c.org:6984/{home}-{doctype}"),
            (Kind::Couchdb, "http://[::1]:5984/{doctype}/{home}"),
            (Kind::Cozy, "https://{home}"),
            (Kind::Cozy, "https://{home}.cozy.org/"),
        ] {
            check_template(kind, template, true).unwrap();
        }
        // A template without {home} is accepted for a single home.
        check_template(Kind::Cozy, "https://alice.cozy.org", false).unwrap();
        assert!(check_template(Kind::Couchdb, "https://c.org/alice", false).is_err());
    }

    #[test]
    fn two_homes_never_have_one_address_however_it_is_written() {
        let both = "https://c.org/{home}-{doctype}";
        for (first, second) in [
            ((both, "alice"), (both, "Alice")),
            (
                (both, "alice"),
                ("https://C.ORG:443/al%69ce-{doctype}", "b"),
            ),
            (
                (both, "alice"),
                ("https://c.org/x/../alice-{doctype}/", "b"),
            ),
            ((both, "é"), ("https://c.org/%c3%A9-{doctype}", "b")),
        ] {
            let mut taken = Taken::default();
            taken.take(Kind::Couchdb, first.0, first.1).unwrap();
            let refused = taken.take(Kind::Couchdb, second.0, second.1).unwrap_err();
            assert!(refused.contains("the same address"), "{refused}");
        }
        let mut cozys = Taken::default();
        cozys
            .take(Kind::Cozy, "https://{home}", "alice.cozy.org")
            .unwrap();
        assert!(
            cozys
                .take(Kind::Cozy, "https://{home}", "ALICE.cozy.org")
                .is_err()
        );
        cozys
            .take(Kind::Cozy, "https://{home}", "bruno.cozy.org")
            .unwrap();
    }

    #[test]
    fn no_id_of_a_home_leads_out_of_its_place() {
        let at = |template, home: &str| {
            place(Kind::Couchdb, template, &HomeId(home.into()), "d").map(String::from)
        };
        for home in [".", ".."] {
            assert_eq!(at("https://c.org/{home}/{doctype}", home), None);
        }
        assert_eq!(
            at("https://c.org/{home}/{doctype}", "../x?y#z@").unwrap(),
            "https://c.org/..%2Fx%3Fy%23z%40/d/_find"
        );
        let cozy = |home: &str| place(Kind::Cozy, "https://{home}", &HomeId(home.into()), "d");
        for home in ["u:p@evil.org", "evil.org/x", "evil.org?", "evil.org#", ""] {
            assert_eq!(cozy(home), None, "{home}");
        }
    }
}
