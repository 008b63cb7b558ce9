//! Language of the page, French or English: the owner's choice, or what the browser prefers.

use axum::http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
use serde::Deserialize;

use super::{
    session::cookie_of,
    words::{ENGLISH, FRENCH, Words},
};

/// Name of the cookie that stores the choice.
const NAME: &str = "language";

/// Language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Language {
    #[serde(rename = "en")]
    English,
    #[serde(rename = "fr")]
    French,
}

impl Language {
    /// Returns the language that the owner chose, or else the one of the two that the browser prefers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if let Some(chosen) = cookie_of(headers, NAME) {
            return if chosen == "fr" {
                Self::French
            } else {
                Self::English
            };
        }
        let accepted = headers
            .get(ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        let mut best = (0.0, Self::English);
        for range in accepted.unwrap_or_default().split(',') {
            let (tag, quality) = range.split_once(";q=").unwrap_or((range, "1"));
            let quality: f32 = quality.trim().parse().unwrap_or(0.0);
            let language = match tag.trim().get(..2).map(str::to_ascii_lowercase).as_deref() {
                Some("fr") => Self::French,
                Some("en") => Self::English,
                _ => continue,
            };
            // A quality of 0 means that the browser does not want the language.
            if quality > best.0 {
                best = (quality, language);
            }
        }
        best.1
    }

    pub(super) fn cookie(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::English => "language=en; Path=/; Max-Age=31536000; SameSite=Lax",
            Self::French => "language=fr; Path=/; Max-Age=31536000; SameSite=Lax",
        })
    }

    /// Returns the language's tag in HTML.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    pub(super) fn text(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::French => &FRENCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_s_better_liked_language_is_taken_unless_one_was_chosen() {
        let of = |accept: &str, cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("accept-language", accept.parse().unwrap());
            headers.insert("cookie", cookie.parse().unwrap());
            Language::of(&headers)
        };
        assert_eq!(of("fr-FR,fr;q=0.9,en;q=0.8", ""), Language::French);
        assert_eq!(of("en;q=0.5, fr;q=0.6", ""), Language::French);
        assert_eq!(of("de, en", ""), Language::English);
        assert_eq!(of("é;q=x", "a=b"), Language::English);
        assert_eq!(of("en", "session=1; language=fr"), Language::French);
    }
}
