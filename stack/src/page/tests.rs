use axum::http::{Request, header};
use dispers_base::{id::KeyEpoch, keys::SigningKey};
use dispers_core::manifest::{Manifest, SignedManifest};
use dispers_node::{now, rng};
use dispers_privacy::{Mechanism, Rho};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    Otherwise, Outcome,
    testing::{decide, home as named, later, query},
};

/// Page over a store in memory, with a browser that has no cookie yet.
struct Browser {
    routes: Router,
    store: Arc<Store>,
    cookie: String,
}

struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Browser {
    fn new() -> Self {
        let store = Arc::new(Store::in_memory().unwrap());
        let page = Page {
            store: store.clone(),
            catalogue: Catalogue::default(),
            key_epoch: KeyEpoch(1),
            relay: None,
            secure: true,
            bounds: crate::testing::BOUNDS,
        };
        Self {
            routes: page.routes(),
            store,
            cookie: String::new(),
        }
    }

    /// Returns another browser at the same page.
    fn another(&self) -> Self {
        Self {
            routes: self.routes.clone(),
            store: self.store.clone(),
            cookie: String::new(),
        }
    }

    async fn send(&self, request: axum::http::request::Builder, body: String) -> Seen {
        let request = request
            .header(header::COOKIE, &self.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = self
            .routes
            .clone()
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Seen {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, place: &str) -> Seen {
        self.send(Request::get(place), String::new()).await
    }

    async fn post(&self, place: &str, form: &str) -> Seen {
        self.send(Request::post(place), form.into()).await
    }

    /// Returns the value that a form of the page carries.
    async fn form(&self) -> String {
        let body = self.get("/").await.body;
        let (_, rest) = body.split_once("name=\"form\" value=\"").unwrap();
        format!("form={}", &rest[..64])
    }

    async fn log_in(&mut self, home: &str) {
        let link = self.store.link(&named(home)).unwrap().text();
        let entered = self.post("/enter", &format!("token={link}")).await;
        assert_eq!(entered.status, StatusCode::SEE_OTHER);
        let cookie = entered.headers[header::SET_COOKIE].to_str().unwrap();
        for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        self.cookie = cookie.split(';').next().unwrap().to_owned();
    }
}

fn ask_me(store: &Store, homes: &[&str]) {
    let rules = Rules {
        otherwise: Otherwise::Ask,
        ..Rules::default()
    };
    let homes: Vec<HomeId> = homes.iter().map(|name| named(name)).collect();
    store.set_rules(&homes, rules).unwrap();
}

fn with_purpose(purpose: &str) -> (SignedManifest, Manifest) {
    let (_, mut manifest) = query(1, Some(1_000_000), later());
    manifest.purpose = purpose.into();
    (manifest.sign(&SigningKey::generate(&mut rng())), manifest)
}

#[tokio::test]
async fn a_link_enters_once_and_a_stranger_sees_nothing() {
    let mut browser = Browser::new();
    for place in [
        "/rules",
        "/history",
        "/export.json",
        "/subscriptions",
        "/request/00",
    ] {
        let seen = browser.get(place).await;
        assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{place}");
        assert!(seen.body.contains("Ask your host for a link"));
    }
    let link = browser.store.link(&named("a")).unwrap().text();
    // Looking at the link does not use it up.
    for _ in 0..2 {
        let door = browser.get(&format!("/enter?token={link}")).await;
        assert!(door.body.contains(&format!("value=\"{link}\"")));
        assert!(!door.headers.contains_key(header::SET_COOKIE));
    }
    let entered = browser.post("/enter", &format!("token={link}")).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    let again = browser.post("/enter", &format!("token={link}")).await;
    assert_eq!(again.status, StatusCode::GONE);
    assert!(again.body.contains("used before"));
    assert!(!again.headers.contains_key(header::SET_COOKIE));

    browser.log_in("a").await;
    assert_eq!(browser.get("/rules").await.status, StatusCode::OK);
    let form = browser.form().await;
    assert_eq!(
        browser.post("/leave", &form).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(browser.get("/rules").await.status, StatusCode::UNAUTHORIZED);
    let cookie = "session=".to_owned() + &"0".repeat(64);
    browser.cookie = cookie;
    assert_eq!(browser.get("/rules").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_other_site_can_decide_and_no_page_can_be_framed() {
    let mut browser = Browser::new();
    ask_me(&browser.store, &["a", "b"]);
    let asked = query(1, Some(1_000_000), later());
    decide(&browser.store, &asked, true, &["a", "b"]);
    let place = format!("/request/{}/allow", asked.0.query());
    let mut other = browser.another();
    other.log_in("b").await;
    let foreign = other.form().await;
    browser.log_in("a").await;
    let own = browser.form().await;
    for form in ["", "form=", &foreign] {
        let seen = browser.post(&place, form).await;
        assert!(seen.status.is_client_error(), "{form}: {}", seen.status);
    }
    let elsewhere = Request::post(&place).header("sec-fetch-site", "cross-site");
    let seen = browser.send(elsewhere, own.clone()).await;
    assert_eq!(seen.status, StatusCode::FORBIDDEN);
    let entry = |name| {
        browser
            .store
            .entry(&named(name), asked.0.query())
            .unwrap()
            .unwrap()
    };
    assert_eq!(entry("a").outcome, Outcome::Waiting);
    let seen = browser.post(&place, &own).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER);
    assert_eq!(entry("a").outcome, Outcome::AllowedByOwner);
    assert_eq!(entry("b").outcome, Outcome::Waiting);
    for place in ["/", "/nothing", "/style.css"] {
        let seen = browser.get(place).await;
        let policy = seen.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'"));
        assert!(policy.contains("frame-ancestors 'none'"));
        assert_eq!(seen.headers["x-content-type-options"], "nosniff");
        assert!(!seen.body.contains("<script"));
    }
    let large = format!("{own}&email={}", "x".repeat(20_000));
    let seen = browser.post("/rules", &large).await;
    assert_eq!(seen.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn of_two_browsers_the_first_decides_and_the_other_is_told() {
    let mut first = Browser::new();
    ask_me(&first.store, &["a"]);
    let asked = query(1, Some(1_000_000), later());
    decide(&first.store, &asked, true, &["a"]);
    let mut second = first.another();
    first.log_in("a").await;
    second.log_in("a").await;
    let place = format!("/request/{}", asked.0.query());
    for browser in [&first, &second] {
        assert!(browser.get(&place).await.body.contains("Allow"));
    }
    let (one, two) = (first.form().await, second.form().await);
    let seen = first.post(&format!("{place}/deny"), &one).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER);
    let seen = second.post(&format!("{place}/allow"), &two).await;
    assert_eq!(seen.status, StatusCode::CONFLICT);
    assert!(seen.body.contains("decided before: refused, by your word"));
    let entry = first.store.entry(&named("a"), asked.0.query()).unwrap();
    assert_eq!(entry.unwrap().outcome, Outcome::DeniedByOwner);
    // An owner cannot decide for another home.
    let mut other = first.another();
    other.log_in("b").await;
    assert_eq!(other.get(&place).await.status, StatusCode::NOT_FOUND);
    let form = other.form().await;
    let seen = other.post(&format!("{place}/allow"), &form).await;
    assert_eq!(seen.status, StatusCode::NOT_FOUND);
    assert!(seen.body.contains("was not asked"));
}

#[tokio::test]
async fn what_others_wrote_is_shown_and_not_run() {
    let mut browser = Browser::new();
    let hostile = "<script>alert(1)</script> \"'&";
    let mut asked = with_purpose(hostile);
    asked.1.local.doctype = "<img src=x onerror=alert(2)>".into();
    asked.1.local.fields[0].name = "</ul><b>".into();
    asked.0 = asked.1.sign(&SigningKey::generate(&mut rng()));
    let rules = Rules {
        email: Some("\"><script>@example.org".into()),
        ..Rules::default()
    };
    browser.store.set_rules([&named("<home>")], rules).unwrap();
    decide(&browser.store, &asked, true, &["<home>"]);
    browser.log_in("<home>").await;
    let place = format!("/request/{}", asked.0.query());
    let form = browser.form().await;
    let seen = browser
        .post(&format!("{place}/rule"), &format!("{form}&effect=deny"))
        .await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER);
    for place in ["/", &place, "/rules", "/history"] {
        let body = browser.get(place).await.body;
        for run in ["<script", "<img", "<b>"] {
            assert!(!body.contains(run), "{place}: {body}");
        }
    }
    let body = browser.get(&place).await.body;
    assert!(body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let export = browser.get("/export.json").await;
    assert_eq!(export.headers[header::CONTENT_TYPE], "application/json");
    let export: serde_json::Value = serde_json::from_str(&export.body).unwrap();
    assert_eq!(export["history"][0]["purpose"], hostile);
    assert_eq!(export["home"], "<home>");
}

#[tokio::test]
async fn an_owner_makes_a_rule_from_a_question_and_takes_it_back() {
    let mut browser = Browser::new();
    ask_me(&browser.store, &["a"]);
    let asked = query(1, Some(1_000_000), later());
    decide(&browser.store, &asked, true, &["a"]);
    browser.log_in("a").await;
    let form = browser.form().await;
    let place = format!("/request/{}/rule", asked.0.query());
    let seen = browser.post(&place, &format!("{form}&effect=allow")).await;
    assert_eq!(seen.headers[header::LOCATION], "/rules");
    let rule = browser.store.rules(&named("a")).unwrap().rules.remove(0);
    assert_eq!(rule.queriers, Some(vec!["lab".to_owned()]));
    assert_eq!(rule.fields, Some(vec!["rate".to_owned()]));
    assert_eq!((rule.min_cohort, rule.epsilon), (Some(20), Some(1.0)));
    assert_eq!((rule.delta, rule.epsilon_per_year), (Some(0.0), Some(10.0)));
    assert!(!rule.exact && !rule.training);
    // A similar query is answered from now on. One with less noise, or an exact one, is not.
    let outcome = |number, epsilon| {
        decide(
            &browser.store,
            &query(number, epsilon, now().0),
            false,
            &["a"],
        )[0]
    };
    assert_eq!(outcome(2, Some(1_000_000)), Outcome::Allowed);
    assert_eq!(outcome(3, Some(1_000_001)), Outcome::Late);
    assert_eq!(outcome(4, None), Outcome::Late);

    let set = format!("{form}&otherwise=deny&epsilon_per_year=1,5&email=a%40b.org");
    assert_eq!(
        browser.post("/rules", &set).await.status,
        StatusCode::SEE_OTHER
    );
    let rules = browser.store.rules(&named("a")).unwrap();
    assert_eq!(rules.epsilon_per_year, Some(1.5));
    assert_eq!(rules.email.as_deref(), Some("a@b.org"));
    assert_eq!(rules.otherwise, Otherwise::Deny);
    assert_eq!(outcome(5, Some(600_000)), Outcome::Spent);
    for wrong in [
        "epsilon_per_year=many&email=",
        "epsilon_per_year=-1&email=",
        "epsilon_per_year=&email=nobody",
    ] {
        let seen = browser
            .post("/rules", &format!("{form}&otherwise=ask&{wrong}"))
            .await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(browser.store.rules(&named("a")).unwrap(), rules);
    let seen = browser.post("/rules/1/remove", &form).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER);
    assert!(browser.store.rules(&named("a")).unwrap().rules.is_empty());
}

#[tokio::test]
async fn the_page_shows_the_delta_of_a_query_with_its_meaning() {
    let mut browser = Browser::new();
    ask_me(&browser.store, &["a"]);
    let (_, mut manifest) = query(1, Some(1_000_000), later());
    let privacy = manifest.privacy.as_mut().unwrap();
    (privacy.delta, privacy.mechanism) = (1e-5, Mechanism::Gaussian { rho: Rho(10_000) });
    let asked = (manifest.sign(&SigningKey::generate(&mut rng())), manifest);
    decide(&browser.store, &asked, true, &["a"]);
    browser.log_in("a").await;
    let place = format!("/request/{}", asked.0.query());
    let body = browser.get(&place).await.body;
    let words = "epsilon 1, delta 0.00001: the chance that the answer reveals more about you than epsilon allows is at \
                 most 1/";
    assert!(body.contains(words), "{body}");
}

#[tokio::test]
async fn the_page_speaks_french_to_who_likes_it_better_and_remembers_a_choice() {
    let mut browser = Browser::new();
    let asked = query(1, Some(1_000_000), later());
    decide(&browser.store, &asked, false, &["a"]);
    browser.log_in("a").await;
    let place = format!("/request/{}", asked.0.query());
    let french = Request::get(&place).header(header::ACCEPT_LANGUAGE, "fr-FR,en;q=0.3");
    let seen = browser.send(french, String::new()).await;
    assert!(seen.body.contains("<html lang=\"fr\">"));
    assert!(
        seen.body
            .contains("Il envoie rate, comme nombre de 0 à 200, par pas de 1.")
    );
    assert!(
        seen.body
            .contains("refusé : aucune de vos règles ne l’autorise")
    );
    let english = browser.get(&place).await;
    assert!(
        english
            .body
            .contains("It sends rate, as a number from 0 to 200, in steps of 1.")
    );
    assert!(
        english
            .body
            .contains("SELECT clamp(rate, 0, 200, 1)\nFROM Heart")
    );
    let chosen = browser.get("/?language=fr").await;
    let cookie = chosen.headers[header::SET_COOKIE].to_str().unwrap();
    browser.cookie += "; ";
    browser.cookie += cookie.split(';').next().unwrap();
    assert!(
        browser
            .get("/")
            .await
            .body
            .contains("En attente de votre réponse")
    );
    assert_eq!(
        browser.get("/?language=de").await.status,
        StatusCode::BAD_REQUEST
    );
}
