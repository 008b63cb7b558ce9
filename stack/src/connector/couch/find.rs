//! One Mango query, home by home and page by page.

use std::collections::HashSet;

use dispers_core::subscription::HomeId;
use dispers_query::local::FieldValue;
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value, json};

use super::{
    config::{Config, Home, Kind},
    place::place,
};
use crate::{Operator, Selector, http::Clients};

/// Why a home's documents cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Failure {
    #[error("there are no credentials for this home: add it to the file of homes")]
    Unknown,
    #[error("the credentials were refused: renew them in the file of homes")]
    Credentials,
    #[error(
        "the server did not answer in time, or cannot be reached: is its address right, and its certificate?"
    )]
    Timeout,
    #[error("the server answered with an error: see its log")]
    Status,
    #[error("the server's answer is no list of documents: is the address that of a database?")]
    Malformed,
    #[error("the home has more documents than may be read: raise max-documents and max-bytes")]
    TooLarge,
}

/// What is asked of each home.
pub(super) struct Find {
    kind: Kind,
    url: String,
    doctype: String,
    /// Fields as paths into a document.
    paths: Vec<Vec<String>>,
    selector: Value,
    fields: Vec<String>,
    page_size: usize,
    max_documents: usize,
    max_bytes: usize,
}

fn operator(operator: Operator) -> &'static str {
    match operator {
        Operator::Equal => "$eq",
        Operator::Less => "$lt",
        Operator::LessOrEqual => "$lte",
        Operator::Greater => "$gt",
        Operator::GreaterOrEqual => "$gte",
        Operator::In => "$in",
        Operator::Exists => "$exists",
    }
}

/// A selector in Mango. Without conditions it is every document that has an id: all of them.
fn mango(selector: &Selector) -> Value {
    let mut parts = vec![json!({"_id": {"$gt": null}})];
    for condition in &selector.0 {
        let value = match (condition.operator, &condition.values[..]) {
            (Operator::Exists, _) => json!(true),
            (Operator::In, values) => json!(values),
            (_, [value]) => value.clone(),
            _ => continue,
        };
        let compared = json!({operator(condition.operator): value});
        parts.push(json!({condition.field.as_str(): compared}));
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => json!({ "$and": parts }),
    }
}

impl Find {
    pub(super) fn new(
        config: &Config,
        doctype: &str,
        fields: &[&str],
        selector: &Selector,
    ) -> Self {
        let path = |field: &&str| field.split('.').map(str::to_owned).collect();
        let fields_and_id = fields.iter().copied().chain(["_id"]);
        Self {
            kind: config.kind,
            url: config.url.clone(),
            doctype: doctype.to_owned(),
            paths: fields.iter().map(path).collect(),
            selector: mango(selector),
            fields: fields_and_id.map(str::to_owned).collect(),
            page_size: config.page_size,
            max_documents: config.max_documents,
            max_bytes: config.max_bytes,
        }
    }

    fn url(&self, home: &HomeId, access: &Home) -> Option<Url> {
        let url = access.url.as_ref().unwrap_or(&self.url);
        place(self.kind, url, home, &self.doctype)
    }

    /// All documents of a home, page by page.
    pub(super) async fn documents(
        &self,
        clients: &Clients,
        home: &HomeId,
        access: &Home,
    ) -> Result<Vec<Vec<FieldValue>>, Failure> {
        let url = self.url(home, access).ok_or(Failure::Malformed)?;
        let mut left = self.max_bytes;
        let mut documents = Vec::new();
        let mut seen = 0;
        let mut ids = HashSet::new();
        let mut bookmark: Option<String> = None;
        loop {
            let mut body = json!({
                "selector": self.selector,
                "fields": self.fields,
                "limit": self.page_size,
            });
            match &bookmark {
                Some(bookmark) => body["bookmark"] = bookmark.as_str().into(),
                None if seen > 0 => body["skip"] = seen.into(),
                None => {}
            }
            let Some(page) = self
                .page(clients, url.clone(), access, &body, &mut left)
                .await?
            else {
                return Ok(documents);
            };
            let Some(Value::Array(docs)) = page.get("docs") else {
                return Err(Failure::Malformed);
            };
            seen += docs.len();
            if seen > self.max_documents {
                return Err(Failure::TooLarge);
            }
            for document in docs {
                // Servers that page by a number of documents may give one twice.
                let id = document.get("_id").and_then(Value::as_str);
                if id.is_none_or(|id| ids.insert(id.to_owned())) {
                    documents.extend(self.read(document)?);
                }
            }
            let more = page.get("next").and_then(Value::as_bool);
            if docs.is_empty() || (docs.len() < self.page_size && more != Some(true)) {
                return Ok(documents);
            }
            let next = page.get("bookmark").and_then(Value::as_str);
            let next = next
                .filter(|next| !next.is_empty() && *next != "nil")
                .map(str::to_owned);
            // A server that gives the same bookmark again would never end.
            if next.is_some() && next == bookmark {
                return Err(Failure::Malformed);
            }
            bookmark = next;
        }
    }

    /// One page; `None` where there is no such database.
    async fn page(
        &self,
        clients: &Clients,
        url: Url,
        access: &Home,
        body: &Value,
        left: &mut usize,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let request = clients.post(url).header("content-type", "application/json");
        let request = request
            .header("accept", "application/json")
            .body(body.to_string());
        let request = match (&access.user, &access.password, &access.token) {
            (Some(user), Some(password), _) => request.basic_auth(user, Some(password.as_str())),
            (_, _, Some(token)) => request.bearer_auth(token.as_str()),
            _ => request,
        };
        let mut reply = request.send().await.map_err(|_| Failure::Timeout)?;
        match reply.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Failure::Credentials),
            _ => return Err(Failure::Status),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(|_| Failure::Timeout)? {
            *left = left.checked_sub(chunk.len()).ok_or(Failure::TooLarge)?;
            bytes.extend_from_slice(&chunk);
        }
        let page: Value = serde_json::from_slice(&bytes).map_err(|_| Failure::Malformed)?;
        match page {
            Value::Object(page) => Ok(Some(page)),
            _ => Err(Failure::Malformed),
        }
    }

    /// The fields of a document; `None` for a design document, which is none of the home's.
    fn read(&self, document: &Value) -> Result<Option<Vec<FieldValue>>, Failure> {
        let document = document.as_object().ok_or(Failure::Malformed)?;
        let id = document.get("_id").and_then(Value::as_str);
        if id.is_some_and(|id| id.starts_with("_design/")) {
            return Ok(None);
        }
        let values = self.paths.iter().map(|path| {
            let mut parts = path.iter();
            let first = parts.next().and_then(|part| document.get(part));
            let value = parts.try_fold(first?, |value, part| value.get(part));
            Some(field_value(value?))
        });
        Ok(Some(
            values
                .map(|value| value.unwrap_or(FieldValue::Null))
                .collect(),
        ))
    }
}

fn field_value(value: &Value) -> FieldValue {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => FieldValue::Integer(integer),
            (None, Some(real)) => FieldValue::Real(real),
            _ => FieldValue::Null,
        },
        Value::String(text) => FieldValue::Text(text.clone()),
        Value::Bool(value) => FieldValue::Integer((*value).into()),
        _ => FieldValue::Null,
    }
}
