//! Mango query for documents, home by home and page by page.

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

/// Reason why a home's documents cannot be read.
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

/// Mango query that is sent for each home.
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

/// Returns the name of an operator in Mango.
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

/// Writes a selector in Mango. Without conditions it matches every document, since each has an id.
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
        let paths = fields
            .iter()
            .map(|field| field.split('.').map(str::to_owned).collect());
        // The id tells whether a document comes twice, or is a design document.
        let fields_and_id = fields.iter().copied().chain(["_id"]);
        Self {
            kind: config.kind,
            url: config.url.clone(),
            doctype: doctype.to_owned(),
            paths: paths.collect(),
            selector: mango(selector),
            fields: fields_and_id.map(str::to_owned).collect(),
            page_size: config.page_size,
            max_documents: config.max_documents,
            max_bytes: config.max_bytes,
        }
    }

    /// Returns the address of a home's documents, or `None` if its id does not fit into the template.
    fn url(&self, home: &HomeId, access: &Home) -> Option<Url> {
        let url = access.url.as_ref().unwrap_or(&self.url);
        place(self.kind, url, home, &self.doctype)
    }

    /// Reads all documents of a home, page by page.
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
                // A server without bookmarks pages by the number of documents.
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
            // The bounds are checked page by page, so that one home's source cannot fill the stack's memory.
            seen += docs.len();
            if seen > self.max_documents {
                return Err(Failure::TooLarge);
            }
            for document in docs {
                // A server that pages by the number of documents may give one twice, if another is added meanwhile.
                let id = document.get("_id").and_then(Value::as_str);
                if id.is_none_or(|id| ids.insert(id.to_owned())) {
                    documents.extend(self.read(document)?);
                }
            }
            // A Cozy says in `next` whether there is another page. Any other server has none after a page that is not
            // full.
            let more = page.get("next").and_then(Value::as_bool);
            if docs.is_empty() || (docs.len() < self.page_size && more != Some(true)) {
                return Ok(documents);
            }
            let next = page.get("bookmark").and_then(Value::as_str);
            // CouchDB writes `nil` if there is no further page.
            let next = next
                .filter(|next| !next.is_empty() && *next != "nil")
                .map(str::to_owned);
            // A server that repeats a bookmark would never end.
            if next.is_some() && next == bookmark {
                return Err(Failure::Malformed);
            }
            bookmark = next;
        }
    }

    /// Reads one page. Returns `None` if there is no such database. Subtracts the size of the page from `left`.
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
            // A home without a database for the doctype has no documents. This is no failure.
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Failure::Credentials),
            _ => return Err(Failure::Status),
        }
        let mut bytes = Vec::new();
        // Counted as the bytes arrive, since a server may send more than it announces.
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

    /// Returns the fields of a document, or `None` for a design document, which is not one of the home's documents.
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

/// Converts a value of JSON. Booleans become 0 and 1. Lists and objects become NULL.
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
