//! Session of an owner, as a browser shows it by a cookie.

use axum::http::{HeaderMap, HeaderValue, header::COOKIE};
use dispers_core::subscription::HomeId;
use subtle::ConstantTimeEq;

use super::{Page, Refusal};
use crate::store::Token;

/// Name of the cookie.
const NAME: &str = "session";

/// Owner of a home who is logged in.
pub(super) struct Owner {
    pub(super) home: HomeId,
    /// Value that the owner's forms carry.
    pub(super) form: String,
}

/// Token in a browser's cookie. Nothing is checked yet.
pub(super) struct Session(Option<Token>);

/// Returns the value of a cookie.
pub(super) fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|cookie| cookie.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Makes a cookie that scripts cannot read and that other sites' forms do not send.
pub(super) fn cookie(value: &str, seconds: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    // `SameSite=Strict` would make an owner who follows the link in a notice appear as not logged in.
    let text = format!("{NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    // Hexadecimal digits and constants are valid in a header, so that the default is never used.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("session="))
}

/// Returns whether the browser says that another site sent the request.
pub(super) fn from_elsewhere(headers: &HeaderMap) -> bool {
    // `none` stands for an address that the user entered. Some browsers leave the header out.
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

    /// Returns the owner who is logged in, if any.
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

    /// Returns the owner who is logged in.
    pub(super) fn known(&self, page: &Page) -> Result<Owner, Refusal> {
        self.owner(page)?.ok_or(Refusal::Stranger)
    }

    /// Returns the owner who is logged in, if a page of the same session made the form.
    pub(super) fn owner_of_form(
        &self,
        page: &Page,
        headers: &HeaderMap,
        form: &str,
    ) -> Result<Owner, Refusal> {
        let owner = self.known(page)?;
        // In constant time, so that the duration does not reveal how much of the value is right.
        let same: bool = owner.form.as_bytes().ct_eq(form.as_bytes()).into();
        match same && !from_elsewhere(headers) {
            true => Ok(owner),
            false => Err(Refusal::Forged),
        }
    }
}
