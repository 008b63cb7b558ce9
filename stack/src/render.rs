//! Rendering of a local query as SQLite's SQL.
//!
//! No text of the query reaches the SQL: columns have generated names, and literals are bound. Where SQLite would do
//! something else than PostgreSQL, the SQL calls a function of the [`engine`](crate::engine).

use dispers_query::local::{
    AggregateFunction, Arithmetic, Category, Expr, Function, Key, LocalQuery, Node,
};
use rusqlite::types::Value;

/// Statements that evaluate one query for many homes.
#[derive(Debug, Clone, PartialEq)]
pub struct Statements {
    /// Statement that creates the table of documents: the home, then the fields that are read.
    pub create: String,
    /// Statement that inserts one document.
    pub insert: String,
    /// Statement that selects the home, the position of each key's category, and each measured value.
    pub select: String,
    /// Values of the numbered parameters of `select`.
    pub parameters: Vec<Value>,
}

/// Renders a valid query.
pub fn render(query: &LocalQuery) -> Statements {
    render_as(query, query.inner.is_some())
}

/// Renders a valid query. `several` is true if each of a home's documents counts.
pub fn render_as(query: &LocalQuery, several: bool) -> Statements {
    let mut renderer = Renderer::default();
    let fields: Vec<String> = (0..query.fields.len()).map(|i| format!("c{i}")).collect();
    // Without an inner SELECT a home has one document. If it holds more, the first counts and the insertion of the
    // others is ignored.
    let unique = if several { "" } else { " PRIMARY KEY" };
    let columns: String = fields.iter().map(|c| format!(", {c}")).collect();
    let places: String = (0..fields.len()).map(|i| format!(", ?{}", i + 2)).collect();

    let (rows, row) = match &query.inner {
        None => ("documents".to_owned(), fields),
        Some(inner) => {
            let aggregates = inner.aggregates.iter().enumerate().map(|(i, aggregate)| {
                let argument = match &aggregate.argument {
                    Some(argument) => renderer.expr(argument, &fields),
                    None => "*".to_owned(),
                };
                format!(
                    ", {}({argument}) AS a{i}",
                    aggregate_name(aggregate.function)
                )
            });
            let aggregates: String = aggregates.collect();
            let filter = renderer.filter(inner.filter.as_ref(), &fields);
            let rows = format!("(SELECT home{aggregates} FROM documents{filter} GROUP BY home)");
            let row = (0..inner.aggregates.len())
                .map(|i| format!("a{i}"))
                .collect();
            (rows, row)
        }
    };
    let mut items = String::from("home");
    for key in &query.keys {
        items += &format!(", {}", renderer.key(key, &row));
    }
    for measure in &query.measures {
        items += &format!(", {}", renderer.expr(&measure.expr, &row));
    }
    let filter = renderer.filter(query.filter.as_ref(), &row);
    Statements {
        create: format!("CREATE TEMP TABLE documents (home INTEGER{unique}{columns})"),
        insert: format!("INSERT OR IGNORE INTO documents VALUES (?1{places})"),
        select: format!("SELECT {items} FROM {rows}{filter}"),
        parameters: renderer.parameters,
    }
}

#[derive(Default)]
struct Renderer {
    parameters: Vec<Value>,
}

impl Renderer {
    /// Adds a parameter and returns its placeholder.
    fn bind(&mut self, value: Value) -> String {
        self.parameters.push(value);
        format!("?{}", self.parameters.len())
    }

    fn filter(&mut self, filter: Option<&Expr>, columns: &[String]) -> String {
        filter.map_or(String::new(), |f| {
            format!(" WHERE {}", self.expr(f, columns))
        })
    }

    /// Renders the position of a key's category. A value of no category gives NULL.
    fn key(&mut self, key: &Key, columns: &[String]) -> String {
        let mut text = format!("CASE {}", self.expr(&key.expr, columns));
        for (position, category) in key.categories.iter().enumerate() {
            let value = match category {
                Category::Boolean(value) => Value::Integer((*value).into()),
                Category::Integer(value) => Value::Integer(*value),
                Category::Text(text) => Value::Text(text.clone()),
            };
            text += &format!(" WHEN {} THEN {position}", self.bind(value));
        }
        text + " END"
    }

    fn expr(&mut self, expr: &Expr, columns: &[String]) -> String {
        expr.fold(|node, operands: Vec<String>| {
            match node {
                Node::Null(_) => "NULL".into(),
                Node::Boolean(value) => self.bind(Value::Integer((*value).into())),
                Node::Integer(value) => self.bind(Value::Integer(*value)),
                Node::Real(value) => self.bind(Value::Real(*value)),
                Node::Text(text) => self.bind(Value::Text(text.clone())),
                // A valid query names no other columns.
                Node::Column(index) => columns
                    .get(usize::from(*index))
                    .cloned()
                    .unwrap_or_else(|| "NULL".into()),
                Node::ToReal => format!("CAST({} AS REAL)", operands[0]),
                Node::ToInteger => call("d_integer", &operands),
                Node::Negate => call("d_negate", &operands),
                Node::Arithmetic(operation) => {
                    let name = match operation {
                        Arithmetic::Add => "d_add",
                        Arithmetic::Subtract => "d_subtract",
                        Arithmetic::Multiply => "d_multiply",
                        Arithmetic::Divide => "d_divide",
                    };
                    call(name, &operands)
                }
                Node::Compare(c) => format!("({} {} {})", operands[0], c.symbol(), operands[1]),
                Node::Not => format!("(NOT {})", operands[0]),
                Node::And(_) => balanced(&operands, "AND"),
                Node::Or(_) => balanced(&operands, "OR"),
                Node::IsNull => format!("({} IS NULL)", operands[0]),
                Node::In(_) => format!("({} IN ({}))", operands[0], operands[1..].join(", ")),
                Node::Between => {
                    let [value, low, high] = [&operands[0], &operands[1], &operands[2]];
                    format!("({value} BETWEEN {low} AND {high})")
                }
                Node::Like => call("d_like", &operands),
                Node::Case { whens, .. } => {
                    let (pairs, rest) = operands.split_at(2 * usize::from(*whens));
                    let mut text = String::from("CASE");
                    for pair in pairs.chunks(2) {
                        text += &format!(" WHEN {} THEN {}", pair[0], pair[1]);
                    }
                    for result in rest {
                        text += &format!(" ELSE {result}");
                    }
                    text + " END"
                }
                // SQLite requires at least two operands.
                Node::Coalesce(_) => format!("COALESCE({}, NULL)", operands.join(", ")),
                Node::NullIf => call("NULLIF", &operands),
                Node::Function(function) => {
                    let name = match function {
                        Function::Abs => "d_abs",
                        Function::Round => "d_round",
                        Function::Floor => "d_floor",
                        Function::Ceil => "d_ceil",
                        Function::Length => "d_length",
                        Function::Lower => "d_lower",
                        Function::Upper => "d_upper",
                    };
                    call(name, &operands)
                }
            }
        })
    }
}

fn call(name: &str, operands: &[String]) -> String {
    format!("{name}({})", operands.join(", "))
}

fn aggregate_name(function: AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Count => "COUNT",
        AggregateFunction::Sum => "d_sum",
        AggregateFunction::Average => "d_average",
        AggregateFunction::Minimum => "MIN",
        AggregateFunction::Maximum => "MAX",
    }
}

/// Renders a chain of one operator as a balanced tree, since SQLite bounds the depth of expressions.
fn balanced(operands: &[String], operator: &str) -> String {
    match operands {
        [] => String::new(),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            let (left, right) = (balanced(left, operator), balanced(right, operator));
            format!("({left} {operator} {right})")
        }
    }
}
