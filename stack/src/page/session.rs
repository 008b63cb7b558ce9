//! Who is looking at a page.

use axum::http::{HeaderMap, HeaderValue, header::COOKIE};
use dispers_core::subscription::HomeId;
use subtle::ConstantTimeEq;

use super::{Page, Refusal};
use crate::store::Token;

/// The cookie's name.
const NAME: &str = "session";

/// The owner of a home, who is logged in.
pub(super) struct Owner {
    pub(super) home: HomeId,
    /// What the owner's forms carry.
    pub(super) form: String,
}

/// What a browser says who it is.
pub(super) struct Session(Option<Token>);

/// The value of a cookie.
pub(super) fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|cookie| cookie.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A cookie that scripts cannot read and other sites' forms do not send.
pub(super) fn cookie(value: &str, seconds: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    // Hexadecimal digits and constants are a header's value.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("session="))
}

/// Whether the browser says that another site sent this.
pub(super) fn from_elsewhere(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none")
}

impl Session {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(cookie_of(headers, NAME).and_then(Token::parse))
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.0.as_ref()
    }

    /// Who is logged in, if anybody.
    pub(super) fn owner(&self, page: &Page) -> Result<Option<Owner>, Refusal> {
        let Some(token) = &self.0 else {
            return Ok(None);
        };
        let home = page.store.session(token)?;
        Ok(home.map(|home| Owner {
            home,
            form: token.form(),
        }))
    }

    /// Who is logged in.
    pub(super) fn known(&self, page: &Page) -> Result<Owner, Refusal> {
        self.owner(page)?.ok_or(Refusal::Stranger)
    }

    /// Who is logged in and sent a form that a page of the session made.
    pub(super) fn owner_of_form(
        &self,
        page: &Page,
        headers: &HeaderMap,
        form: &str,
    ) -> Result<Owner, Refusal> {
        let owner = self.known(page)?;
        let same: bool = owner.form.as_bytes().ct_eq(form.as_bytes()).into();
        match same && !from_elsewhere(headers) {
            true => Ok(owner),
            false => Err(Refusal::Forged),
        }
    }
}
