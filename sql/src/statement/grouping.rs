//! GROUP BY: keys whose possible values follow from the query text.

use sqlparser::ast::{Expr as Ast, GroupByExpr, SelectItem, Value, ValueWithSpan};

use super::bound::{Bound, unify};
use super::error::SqlError;
use super::expression::bind;
use super::functions::as_call;
use super::measures::bins;
use super::names::Names;
use super::walk::position_of;
use dispers_query::local::{Category, Key, MAX_KEYS, Node};

/// A GROUP BY column with its text in the query.
pub(crate) struct BoundKey {
    pub(crate) key: Key,
    pub(crate) text: String,
    /// For a histogram: the lower edge of each bin, then the upper edge of the last. `None` for other keys.
    pub(crate) edges: Option<Vec<f64>>,
}

/// Binds the GROUP BY of the outer SELECT. An item may be an alias or a number of a SELECT column.
pub(crate) fn bind_keys(
    group_by: &GroupByExpr,
    items: &[SelectItem],
    names: &mut dyn Names,
    max_groups: usize,
) -> Result<Vec<BoundKey>, SqlError> {
    let GroupByExpr::Expressions(written, _) = group_by else {
        return Ok(Vec::new());
    };
    let histogram = histogram(items, names, max_groups)?;
    if written.len() > MAX_KEYS {
        return Err(SqlError::new(
            written.first().and_then(position_of),
            format!("GROUP BY has {} columns", written.len()),
            format!("write at most {MAX_KEYS}"),
        ));
    }
    let mut keys: Vec<BoundKey> = Vec::new();
    for item in written {
        let meant = referred(item, items, names)?;
        // If an alias of the same name exists, the column of that name has hidden it. The error then says so,
        // since the querier probably meant the alias.
        let key = bind_key(meant, names).map_err(|error| {
            let shadowed = alias_of(item, items).filter(|_| std::ptr::eq(meant, item));
            shadowed.map_or(error, |place| column_not_alias(item, place))
        })?;
        // A repeated key would multiply the number of groups by groups that are always empty.
        if !keys.iter().any(|known| known.key == key) {
            let text = meant.to_string();
            let edges = None;
            keys.push(BoundKey { key, text, edges });
        }
    }
    // HISTOGRAM is one more key, although the query does not write it in GROUP BY.
    keys.extend(histogram);
    let sizes: Vec<usize> = keys.iter().map(|k| k.key.len()).collect();
    let groups = sizes.iter().fold(1usize, |n, size| n.saturating_mul(*size));
    // Every combination of values is one group of the circuit, and circuits have a largest number of groups
    // (protocol.md §7).
    if groups > max_groups {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        return Err(SqlError::new(
            written.first().and_then(position_of),
            format!("GROUP BY makes {} = {groups} groups", sizes.join(" × ")),
            format!("write fewer values or columns, for at most {max_groups} groups"),
        ));
    }
    Ok(keys)
}

/// Returns the bins of the HISTOGRAM among the SELECT items, or `None` if there is no HISTOGRAM.
fn histogram(
    items: &[SelectItem],
    names: &mut dyn Names,
    max_groups: usize,
) -> Result<Option<BoundKey>, SqlError> {
    let mut found = None;
    for item in items {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            continue;
        };
        // An invalid call is reported when the SELECT items are bound.
        let Some(Ok(call)) = as_call(expr) else {
            continue;
        };
        if call.name != "histogram" {
            continue;
        }
        call.plain()?;
        if found.is_some() {
            return Err(SqlError::new(
                call.position,
                "there are two histograms in one SELECT",
                "submit each as a query of its own",
            ));
        }
        let (key, edges) = bins(&call, names, max_groups)?;
        let text = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            _ => "histogram".to_owned(),
        };
        found = Some(BoundKey {
            key,
            text,
            edges: Some(edges),
        });
    }
    Ok(found)
}

/// Returns the expression that a GROUP BY item means: itself, or the select item that it names or numbers.
fn referred<'a>(
    item: &'a Ast,
    items: &'a [SelectItem],
    names: &dyn Names,
) -> Result<&'a Ast, SqlError> {
    match item {
        Ast::Nested(inner) => referred(inner, items, names),
        Ast::Value(ValueWithSpan {
            value: Value::Number(text, _),
            ..
        }) => {
            let index = text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            let found = index.and_then(|i| items.get(i)).and_then(expression);
            found.ok_or_else(|| {
                SqlError::new(
                    position_of(item),
                    format!("there is no column {text} in SELECT"),
                    format!("write a number from 1 to {}, or a name", items.len()),
                )
            })
        }
        // As in PostgreSQL, a column of the doctype comes before an alias of that name.
        Ast::Identifier(name) if !names.has(&name.value) => {
            let aliased = alias_of(item, items).and_then(|place| expression(&items[place]));
            Ok(aliased.unwrap_or(item))
        }
        _ => Ok(item),
    }
}

/// Returns the expression of an item of SELECT; `None` for `*`.
fn expression(item: &SelectItem) -> Option<&Ast> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Returns the position in SELECT of the alias that a GROUP BY item spells.
fn alias_of(item: &Ast, items: &[SelectItem]) -> Option<usize> {
    let Ast::Identifier(name) = item else {
        return None;
    };
    items.iter().position(|item| {
        matches!(item, SelectItem::ExprWithAlias { alias, .. }
            if alias.value.eq_ignore_ascii_case(&name.value))
    })
}

fn column_not_alias(item: &Ast, place: usize) -> SqlError {
    SqlError::new(
        position_of(item),
        format!("GROUP BY {item} means the column of that name, not the alias, as in PostgreSQL"),
        format!(
            "give the alias another name, or write GROUP BY {}",
            place + 1
        ),
    )
}

/// Binds `ast` as a key, with the values that it may have.
pub(super) fn bind_key(ast: &Ast, names: &mut dyn Names) -> Result<Key, SqlError> {
    if let Some(call) = as_call(ast).transpose()? {
        if call.name == "domain" {
            let usage = "domain(x, 'a', 'b')";
            let (value, listed) = match call.arguments.split_first() {
                Some((value, listed)) if !listed.is_empty() => (*value, listed),
                _ => return Err(call.misused(usage)),
            };
            return bind_domain(value, listed, names);
        }
        if call.is_aggregate() {
            return Err(SqlError::new(
                call.position,
                format!("{} is an aggregate", call.shown()),
                "write what the rows are grouped by in GROUP BY",
            ));
        }
    }
    let bound = bind(ast, names)?;
    let Some(categories) = literals(&bound).filter(|found| !found.is_empty()) else {
        return Err(SqlError::new(
            bound.position,
            format!("GROUP BY {ast} has no bounded set of values"),
            format!(
                "write GROUP BY domain({ast}, 'a', 'b') with the values that count, or \
                 CASE WHEN {ast} … THEN 'a' ELSE 'b' END"
            ),
        ));
    };
    Ok(Key {
        nullable: bound.typed.nullable,
        expr: bound.expr,
        categories,
    })
}

fn bind_domain(value: &Ast, listed: &[&Ast], names: &mut dyn Names) -> Result<Key, SqlError> {
    let mut bound = vec![bind(value, names)?];
    for literal in listed {
        bound.push(bind(literal, names)?);
    }
    let mut bound = unify(bound)?.into_iter();
    let value = bound.next().expect("the value comes first");
    let mut categories = Vec::new();
    for (literal, ast) in bound.zip(listed) {
        let category = match literal.expr.nodes() {
            [node] => category(node),
            _ => None,
        };
        let category = category.ok_or_else(|| {
            SqlError::new(
                position_of(ast),
                format!("{ast} is no text, integer or truth value"),
                "write the values that count: domain(x, 'a', 'b') or domain(x, 0, 1)",
            )
        })?;
        if categories.contains(&category) {
            let what = format!("domain lists {category} twice");
            return Err(SqlError::new(
                position_of(ast),
                what,
                "list each value once",
            ));
        }
        categories.push(category);
    }
    Ok(Key {
        expr: value.expr,
        categories,
        // A value that is not listed becomes NULL, even if the column itself is never NULL.
        nullable: true,
    })
}

/// Returns the values that an expression may have, in order of appearance, or `None` if the query text does
/// not bound them.
fn literals(bound: &Bound) -> Option<Vec<Category>> {
    bound
        .expr
        .fold(|node, operands: Vec<Option<Vec<Category>>>| match node {
            Node::Null(_) => Some(Vec::new()),
            Node::Boolean(_) | Node::Integer(_) | Node::Text(_) => Some(vec![category(node)?]),
            // Operands are pairs of a condition and a result, then possibly the result of ELSE. Only results
            // are values.
            Node::Case { whens, .. } => {
                let pairs = 2 * usize::from(*whens);
                let results = operands.into_iter().enumerate();
                merge(
                    results
                        .filter(|(i, _)| *i >= pairs || i % 2 == 1)
                        .map(|(_, set)| set)
                        .collect(),
                )
            }
            Node::Coalesce(_) => merge(operands),
            Node::NullIf => operands.into_iter().next()?,
            Node::Compare(_)
            | Node::Not
            | Node::And(_)
            | Node::Or(_)
            | Node::IsNull
            | Node::In(_)
            | Node::Between
            | Node::Like => Some(vec![Category::Boolean(false), Category::Boolean(true)]),
            _ => None,
        })
}

/// Joins sets without repetition. Returns `None` if one of them is not bounded.
fn merge(sets: Vec<Option<Vec<Category>>>) -> Option<Vec<Category>> {
    let mut all = Vec::new();
    for category in sets.into_iter().collect::<Option<Vec<_>>>()?.concat() {
        if !all.contains(&category) {
            all.push(category);
        }
    }
    Some(all)
}

fn category(node: &Node) -> Option<Category> {
    match node {
        Node::Boolean(value) => Some(Category::Boolean(*value)),
        Node::Integer(value) => Some(Category::Integer(*value)),
        Node::Text(text) => Some(Category::Text(text.clone())),
        _ => None,
    }
}
