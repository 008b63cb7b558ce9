//! Page on which owners see what their home was asked, and decide.
//!
//! The page is HTML that the server renders, without scripts. An owner enters by a one-time link from the host, and
//! stays logged in by a cookie. Every form carries a value that only pages of the same session have. Text from a
//! document, a manifest or the directory is escaped.

mod config;
mod describe;
mod language;
mod session;
mod trained;
mod view;
mod words;

use std::sync::Arc;

use axum::{
    Form, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, SET_COOKIE},
    },
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use dispers_base::id::KeyEpoch;
use dispers_core::subscription::HomeId;
use dispers_query::catalogue::Catalogue;
use dispers_trust::directory::Directory;
use serde::Deserialize;
use tokio::net::TcpListener;

pub use config::{Config, PageError};
use language::Language;
use session::Session;

use crate::{
    Bounds, Effect, Error, Otherwise, Relay, Rule, Rules, Spent, Store, WordError, export,
    rule_file::{EffectWord, OtherwiseWord},
    store::SESSION_LIFE,
    withdraw,
};

/// Number of entries of the history on one page.
const ENTRIES: usize = 25;
/// Largest form, in bytes.
const MAX_FORM: usize = 16 << 10;

/// State of the owners' page.
pub struct Page {
    store: Arc<Store>,
    catalogue: Catalogue,
    key_epoch: KeyEpoch,
    /// Relay for withdrawals. Without one, owners cannot withdraw on the page.
    relay: Option<Relay>,
    /// True if owners reach the page over TLS, so that the cookie may only be sent over TLS.
    secure: bool,
    bounds: Bounds,
}

impl Page {
    /// Creates the page over the store of a stack, reached at `config`'s address.
    pub fn new(
        config: &Config,
        store: Arc<Store>,
        directory: &Directory,
        relay: Option<Relay>,
        exact_queries: usize,
    ) -> Self {
        Self {
            store,
            catalogue: directory.catalogue.clone(),
            key_epoch: directory.asked_keys().key_epoch,
            relay,
            secure: config.url.starts_with("https:"),
            bounds: Bounds {
                exact_queries,
                max_delta: directory.floors.max_delta,
            },
        }
    }

    /// Serves the page.
    ///
    /// # Errors
    /// Errors of the listener.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        axum::serve(listener, self.routes()).await
    }

    /// Returns what was spent, in the form that the page shows.
    fn budget(&self, spent: &Spent) -> view::Budget {
        let max_delta = self.bounds.max_delta;
        view::Budget {
            spent: spent.all.epsilon(max_delta),
            max_delta,
        }
    }

    fn routes(self) -> Router {
        Router::new()
            .route("/", get(home))
            .route("/enter", get(door).post(enter))
            .route("/leave", post(leave))
            .route("/request/{query}", get(request))
            .route("/request/{query}/allow", post(allow))
            .route("/request/{query}/deny", post(deny))
            .route("/request/{query}/rule", post(rule_from))
            .route("/rules", get(rules).post(set_rules))
            .route("/rules/{number}/remove", post(remove_rule))
            .route("/history", get(history))
            .route("/export.json", get(export_json))
            .route("/subscriptions", get(subscriptions))
            .route("/subscriptions/withdraw", post(withdraw_concept))
            .route("/style.css", get(style))
            .fallback(nothing_here)
            .layer(DefaultBodyLimit::max(MAX_FORM))
            .layer(middleware::map_response(guarded))
            .with_state(Arc::new(self))
    }
}

/// Adds headers that keep a browser from doing more with a page than showing it.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages show personal data and must not stay in a cache. Only the style sheet sets its own header.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

type Shared = State<Arc<Page>>;

/// Failure of a request, as the owner is told.
enum Refusal {
    /// Nobody is logged in here.
    Stranger,
    /// A form that was not made by a page of this session.
    Forged,
    /// A request for something that does not exist.
    Missing,
    /// A change that is not possible, with the reason.
    Wrong(String),
    /// A word that changes nothing.
    Word(WordError),
    /// A failure of the stack.
    Broken,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Word(error) => Self::Word(error),
            Error::Rules(error) => Self::Wrong(error.to_string()),
            Error::Remote { .. } => Self::Wrong(error.to_string()),
            error => {
                // The owner is not told the cause, and the log names only its kind: it could contain personal data.
                tracing::error!(kind = error.kind(), "the page failed");
                Self::Broken
            }
        }
    }
}

impl Refusal {
    fn page(&self, language: Language) -> Response {
        let text = language.text();
        let (status, told) = match self {
            Self::Stranger => (StatusCode::UNAUTHORIZED, text.stranger.to_owned()),
            Self::Forged => (StatusCode::FORBIDDEN, text.forged.to_owned()),
            Self::Missing => (StatusCode::NOT_FOUND, text.missing.to_owned()),
            Self::Wrong(reason) => (StatusCode::BAD_REQUEST, reason.clone()),
            Self::Word(WordError::NotAsked) => {
                (StatusCode::NOT_FOUND, text.word(WordError::NotAsked))
            }
            Self::Word(error) => (StatusCode::CONFLICT, text.word(*error)),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, text.broken.to_owned()),
        };
        (status, view::refusal(language, &told)).into_response()
    }
}

/// Runs `work` on a thread that may block, since the store is a file, and shows an owner what went wrong.
async fn answered(
    headers: &HeaderMap,
    work: impl FnOnce(Language) -> Result<Response, Refusal> + Send + 'static,
) -> Response {
    let language = Language::of(headers);
    let done = tokio::task::spawn_blocking(move || work(language)).await;
    match done.unwrap_or(Err(Refusal::Broken)) {
        Ok(response) => response,
        Err(refusal) => refusal.page(language),
    }
}

fn go_to(place: &str) -> Response {
    // The browser continues with GET, so that loading the page again does not send the form again.
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}

async fn nothing_here(headers: HeaderMap) -> Response {
    Refusal::Missing.page(Language::of(&headers))
}

async fn style() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("style.css"))
}

/// Shows the waiting requests and the latest others. Stores the choice of a language.
async fn home(State(page): Shared, Query(query): Query<Chosen>, headers: HeaderMap) -> Response {
    if let Some(language) = query.language {
        let cookie = language.cookie();
        let mut response = go_to("/");
        response.headers_mut().append(SET_COOKIE, cookie);
        return response;
    }
    answered(&headers.clone(), move |language| {
        let Some(owner) = Session::of(&headers).owner(&page)? else {
            return Ok(view::stranger(language).into_response());
        };
        let entries = page.store.history(&owner.home, 0, ENTRIES)?;
        let spent = page.store.spent(&owner.home)?;
        let rules = page.store.rules(&owner.home)?;
        Ok(view::home(language, &owner, &entries, &rules, page.budget(&spent)).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Chosen {
    language: Option<Language>,
}

#[derive(Deserialize)]
struct Link {
    token: String,
}

/// Shows a button instead of opening the session. Programs that follow links by themselves, such as scanners of mail,
/// then use up no link.
async fn door(Query(link): Query<Link>, headers: HeaderMap) -> Response {
    view::door(Language::of(&headers), &link.token).into_response()
}

async fn enter(State(page): Shared, headers: HeaderMap, Form(link): Form<Link>) -> Response {
    answered(&headers.clone(), move |language| {
        // Otherwise another site could log the browser in as the owner of another home.
        if session::from_elsewhere(&headers) {
            return Err(Refusal::Forged);
        }
        let token = crate::store::Token::parse(&link.token);
        let session = match token {
            Some(token) => page.store.enter(&token)?,
            None => None,
        };
        let Some(session) = session else {
            let told = view::refusal(language, language.text().used_link);
            return Ok((StatusCode::GONE, told).into_response());
        };
        let cookie = session::cookie(&session.text(), SESSION_LIFE / 1000, page.secure);
        let mut response = go_to("/");
        response.headers_mut().append(SET_COOKIE, cookie);
        Ok(response)
    })
    .await
}

/// Value that every form carries.
#[derive(Deserialize)]
struct Signed {
    form: String,
}

async fn leave(State(page): Shared, headers: HeaderMap, Form(form): Form<Signed>) -> Response {
    answered(&headers.clone(), move |_| {
        let session = Session::of(&headers);
        session.owner_of_form(&page, &headers, &form.form)?;
        if let Some(token) = session.token() {
            page.store.leave_session(token)?;
        }
        let mut response = go_to("/");
        let cookie = session::cookie("", 0, page.secure);
        response.headers_mut().append(SET_COOKIE, cookie);
        Ok(response)
    })
    .await
}

async fn request(State(page): Shared, Path(query): Path<String>, headers: HeaderMap) -> Response {
    answered(&headers.clone(), move |language| {
        let owner = Session::of(&headers).known(&page)?;
        // Only queries that this home was asked can be named, so that no owner sees or decides those of another home.
        let id = page.store.asked_query(&owner.home, &query)?;
        let entry = page.store.entry(&owner.home, id)?.ok_or(Refusal::Missing)?;
        Ok(view::request(language, &owner, &entry, &page.catalogue).into_response())
    })
    .await
}

async fn allow(
    state: Shared,
    query: Path<String>,
    headers: HeaderMap,
    form: Form<Signed>,
) -> Response {
    word(state, query, headers, form, true).await
}

async fn deny(
    state: Shared,
    query: Path<String>,
    headers: HeaderMap,
    form: Form<Signed>,
) -> Response {
    word(state, query, headers, form, false).await
}

async fn word(
    State(page): Shared,
    Path(query): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Signed>,
    allow: bool,
) -> Response {
    answered(&headers.clone(), move |_| {
        let owner = Session::of(&headers).owner_of_form(&page, &headers, &form.form)?;
        let id = page.store.asked_query(&owner.home, &query)?;
        page.store.word(&owner.home, id, allow, page.bounds)?;
        Ok(go_to(&format!("/request/{id}")))
    })
    .await
}

/// Form that makes a rule from a query, about the same querier, purpose, documents and fields.
#[derive(Deserialize)]
struct RuleForm {
    form: String,
    #[serde(with = "EffectWord")]
    effect: Effect,
}

async fn rule_from(
    State(page): Shared,
    Path(query): Path<String>,
    headers: HeaderMap,
    Form(form): Form<RuleForm>,
) -> Response {
    answered(&headers.clone(), move |_| {
        let owner = Session::of(&headers).owner_of_form(&page, &headers, &form.form)?;
        let id = page.store.asked_query(&owner.home, &query)?;
        let entry = page.store.entry(&owner.home, id)?.ok_or(Refusal::Missing)?;
        let asked = crate::Asked::of(&entry.manifest);
        let rule = Rule::made_from(&asked, form.effect);
        change(&page, &owner.home, |rules| rules.rules.push(rule.clone()))?;
        Ok(go_to("/rules"))
    })
    .await
}

/// Reads the rules of a home, changes them, and stores them.
fn change(page: &Page, home: &HomeId, change: impl Fn(&mut Rules)) -> Result<(), Refusal> {
    Ok(page.store.change_rules([home], change)?)
}

async fn rules(State(page): Shared, headers: HeaderMap) -> Response {
    answered(&headers.clone(), move |language| {
        let owner = Session::of(&headers).known(&page)?;
        let rules = page.store.rules(&owner.home)?;
        let spent = page.store.spent(&owner.home)?;
        Ok(view::rules(language, &owner, &rules, page.budget(&spent)).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct RulesForm {
    form: String,
    #[serde(with = "OtherwiseWord")]
    otherwise: Otherwise,
    #[serde(default)]
    epsilon_per_year: String,
    #[serde(default)]
    email: String,
}

async fn set_rules(
    State(page): Shared,
    headers: HeaderMap,
    Form(form): Form<RulesForm>,
) -> Response {
    answered(&headers.clone(), move |language| {
        let owner = Session::of(&headers).owner_of_form(&page, &headers, &form.form)?;
        let (year, email) = (form.epsilon_per_year.trim(), form.email.trim());
        let year = match year {
            "" => None,
            year => {
                // In French, decimals have a comma.
                let number = year.replace(',', ".").parse();
                let number =
                    number.map_err(|_| Refusal::Wrong(language.text().no_number.to_owned()));
                Some(number?)
            }
        };
        let email = Some(email.to_owned()).filter(|email| !email.is_empty());
        change(&page, &owner.home, |rules| {
            rules.otherwise = form.otherwise;
            rules.epsilon_per_year = year;
            rules.email = email.clone();
        })?;
        Ok(go_to("/rules"))
    })
    .await
}

async fn remove_rule(
    State(page): Shared,
    Path(number): Path<u32>,
    headers: HeaderMap,
    Form(form): Form<Signed>,
) -> Response {
    answered(&headers.clone(), move |_| {
        let owner = Session::of(&headers).owner_of_form(&page, &headers, &form.form)?;
        change(&page, &owner.home, |rules| {
            rules.rules.retain(|rule| rule.number != number);
        })?;
        Ok(go_to("/rules"))
    })
    .await
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    page: usize,
}

async fn history(State(page): Shared, Query(place): Query<Place>, headers: HeaderMap) -> Response {
    answered(&headers.clone(), move |language| {
        let owner = Session::of(&headers).known(&page)?;
        let skip = place.page.saturating_mul(ENTRIES);
        // One entry more than is shown tells whether there is a further page.
        let mut entries = page.store.history(&owner.home, skip, ENTRIES + 1)?;
        let more = entries.len() > ENTRIES;
        entries.truncate(ENTRIES);
        let place = (place.page, more);
        Ok(view::history(language, &owner, &entries, place).into_response())
    })
    .await
}

async fn export_json(State(page): Shared, headers: HeaderMap) -> Response {
    answered(&headers.clone(), move |_| {
        let owner = Session::of(&headers).known(&page)?;
        let epoch = page.key_epoch;
        let export = export(&page.store, &owner.home, epoch, page.bounds.max_delta)?;
        let body = serde_json::to_string_pretty(&export).map_err(|_| Refusal::Broken)?;
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CONTENT_DISPOSITION, "attachment; filename=\"dispers.json\""),
        ];
        Ok((headers, Body::from(body)).into_response())
    })
    .await
}

async fn subscriptions(State(page): Shared, headers: HeaderMap) -> Response {
    answered(&headers.clone(), move |language| {
        let owner = Session::of(&headers).known(&page)?;
        let epoch = page.key_epoch;
        let concepts = page.store.subscriptions(&owner.home, epoch)?;
        let can_withdraw = page.relay.is_some();
        Ok(view::subscriptions(language, &owner, &concepts, can_withdraw).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct WithdrawForm {
    form: String,
    /// Concept to withdraw from. Everything if it is left out.
    concept: Option<String>,
}

async fn withdraw_concept(
    State(page): Shared,
    headers: HeaderMap,
    Form(form): Form<WithdrawForm>,
) -> Response {
    let language = Language::of(&headers);
    // Only this part can run on a thread that may block: the withdrawal itself waits for the network.
    let owner = {
        let page = page.clone();
        let owner = tokio::task::spawn_blocking(move || {
            Session::of(&headers).owner_of_form(&page, &headers, &form.form)
        });
        owner.await.unwrap_or(Err(Refusal::Broken))
    };
    let withdrawn = async {
        let home = [owner?.home];
        let relay = page.relay.as_ref().ok_or(Refusal::Missing)?;
        withdraw(relay, &page.store, &home, form.concept.as_deref()).await?;
        Ok(go_to("/subscriptions"))
    };
    withdrawn
        .await
        .unwrap_or_else(|refusal: Refusal| refusal.page(language))
}

#[cfg(test)]
mod tests;
