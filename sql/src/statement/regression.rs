//! `REGRESS y ~ x1 + x2 FROM …`: linear regression as one query of second moments (protocol.md §10).

use sqlparser::ast::Expr as Ast;

use super::bound::Bound;
use super::error::SqlError;
use super::expression::bind;
use super::functions::as_call;
use super::grouping::bind_key;
use super::measures::Measures;
use super::names::Names;
use super::outputs::named;
use super::parse::Selected;
use super::walk::position_of;
use crate::decode::Model;
use dispers_query::local::{Category, Comparison, Kind, Node};

/// Keyword that a regression begins with.
const WORD: &str = "REGRESS";
const USAGE: &str = "write REGRESS y ~ x1 + x2 FROM …";

/// Rewrites a regression as a SELECT of its values: the dependent value, then the terms. Returns `None` if
/// `text` is not a regression.
pub(crate) fn as_select(text: &str) -> Option<Result<String, SqlError>> {
    let rest = text.trim_start();
    let (word, rest) = rest.split_at_checked(WORD.len())?;
    if !word.eq_ignore_ascii_case(WORD) || !rest.starts_with(char::is_whitespace) {
        return None;
    }
    // Between ~ and FROM, a + outside parentheses separates terms. A term may also be a condition. Each sign
    // is replaced by a single sign, so that errors still have the right position.
    let mut select = String::from("SELECT ");
    let (mut quoted, mut depth, mut terms) = (false, 0usize, None);
    let mut before = ' ';
    for (place, sign) in rest.char_indices() {
        let here = &rest.as_bytes()[place..];
        let from = here.len() > 4
            && here[..4].eq_ignore_ascii_case(b"from")
            && !here[4].is_ascii_alphanumeric()
            && !before.is_alphanumeric();
        match sign {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && from => terms = terms.map(|_| false),
            _ => {}
        }
        let plain = depth == 0 && !quoted;
        before = sign;
        select.push(match sign {
            '~' if plain && terms.is_none() => {
                terms = Some(true);
                ','
            }
            '+' if plain && terms == Some(true) => ',',
            sign => sign,
        });
    }
    let what = "a regression without ~";
    Some(match terms {
        Some(_) => Ok(select),
        None => Err(SqlError::new(None, what, USAGE)),
    })
}

/// Binds a regression.
pub(crate) fn bind_regression(
    selected: &Selected,
    names: &mut dyn Names,
) -> Result<(Measures, Model), SqlError> {
    let select = &selected.select;
    let plain = select.having.is_none() && selected.order.is_empty() && selected.limit.is_none();
    let [y, terms @ ..] = select.projection.as_slice() else {
        return Err(SqlError::new(None, "a regression without terms", USAGE));
    };
    if !plain || selected.offset > 0 {
        return Err(SqlError::new(
            None,
            "a regression takes no HAVING, ORDER BY or LIMIT",
            "write only FROM and WHERE after its terms",
        ));
    }
    let y = named(y)?.0;
    let mut measures = Measures::default();
    let dependent = match term(y, &mut measures, names)?.as_slice() {
        [one] => one.clone(),
        _ => {
            return Err(SqlError::new(
                position_of(y),
                format!("{y} is no single number"),
                "write a clamped number or a condition before ~",
            ));
        }
    };
    let mut features = Vec::new();
    for item in terms {
        let ast = named(item)?.0;
        for feature in term(ast, &mut measures, names)? {
            if feature.0 == dependent.0 || features.contains(&feature) {
                return Err(SqlError::new(
                    position_of(ast),
                    format!("{} stands twice in the regression", feature.1),
                    "write each value once",
                ));
            }
            features.push(feature);
        }
    }
    let variables: Vec<u16> = std::iter::once(&dependent)
        .chain(&features)
        .map(|(variable, _)| *variable)
        .collect();
    // All sums are over the same homes: those that have every value. Otherwise the normal equations would mix
    // different sets of homes.
    let present = measures.nullable(&variables);
    for (place, one) in variables.iter().enumerate() {
        measures.sum(&present, &[*one]);
        for other in &variables[place..] {
            measures.sum(&present, &[*one, *other]);
        }
    }
    let model = Model {
        dependent: dependent.0,
        features,
        present,
    };
    Ok((measures, model))
}

/// Returns the variables of a term and their names: one, or for `domain(…)` one for each value but the first.
fn term(
    ast: &Ast,
    measures: &mut Measures,
    names: &mut dyn Names,
) -> Result<Vec<(u16, String)>, SqlError> {
    if let Ast::Nested(inner) = ast {
        return term(inner, measures, names);
    }
    let call = as_call(ast).transpose()?;
    match call.as_ref().map(|call| call.name.as_str()) {
        Some("clamp") => {
            let variable = measures.clamped("AVG", ast, None, names)?;
            let value = call.and_then(|call| call.arguments.first().map(ToString::to_string));
            return Ok(vec![(variable, value.unwrap_or_default())]);
        }
        Some("domain") => return dummies(ast, measures, names),
        _ => {}
    }
    let bound = bind(ast, names)?;
    let position = bound.position;
    match bound.typed.kind {
        Kind::Boolean => {
            let number = Bound::apply(Node::ToInteger, vec![bound])?;
            Ok(vec![(
                measures.bit(number, ast.to_string())?,
                ast.to_string(),
            )])
        }
        Kind::Integer | Kind::Real => match names.range(&bound.expr) {
            Some(range) => {
                let variable = measures.ranged(bound, range, ast.to_string())?;
                Ok(vec![(variable, ast.to_string())])
            }
            None => Err(SqlError::new(
                position,
                format!("{ast} has no range in the catalogue"),
                format!("write clamp({ast}, lo, hi)"),
            )),
        },
        Kind::Text => Err(SqlError::new(
            position,
            format!("{ast} is text"),
            format!("write domain({ast}, 'a', 'b') for one number per value, or {ast} = 'a'"),
        )),
    }
}

/// Returns, for each value of a domain but the first, the variable that is 1 where the expression has that
/// value.
fn dummies(
    ast: &Ast,
    measures: &mut Measures,
    names: &mut dyn Names,
) -> Result<Vec<(u16, String)>, SqlError> {
    let key = bind_key(ast, names)?;
    let call = as_call(ast).transpose()?;
    let value = call.and_then(|call| call.arguments.first().map(ToString::to_string));
    let value = value.unwrap_or_default();
    let position = position_of(ast);
    let mut found = Vec::new();
    // With a dummy for the first value too, the dummies would add up to the intercept, and the equations
    // would have no unique solution.
    for category in key.categories.iter().skip(1) {
        // The variable is NULL where the expression has none of the listed values. Such a home is left out of
        // the regression.
        let mut parts = vec![
            comparison(category, &key.expr, position)?,
            Bound::literal(Node::Integer(1), position)?,
        ];
        for other in key.categories.iter().filter(|other| *other != category) {
            parts.push(comparison(other, &key.expr, position)?);
            parts.push(Bound::literal(Node::Integer(0), position)?);
        }
        let node = Node::Case {
            whens: (parts.len() / 2) as u16,
            otherwise: false,
        };
        let name = format!("{value} = {category}");
        let variable = measures.bit(Bound::apply(node, parts)?, name.clone())?;
        found.push((variable, name));
    }
    if found.is_empty() {
        return Err(SqlError::new(
            position,
            format!("{ast} has a single value"),
            "list at least two; the first is what the others are compared with",
        ));
    }
    Ok(found)
}

/// Returns the condition that `expr` equals `category`.
pub(super) fn comparison(
    category: &Category,
    expr: &dispers_query::local::Expr,
    position: Option<super::Position>,
) -> Result<Bound, SqlError> {
    let literal = match category {
        Category::Boolean(value) => Node::Boolean(*value),
        Category::Integer(value) => Node::Integer(*value),
        Category::Text(text) => Node::Text(text.clone()),
    };
    let value = Bound {
        expr: expr.clone(),
        typed: dispers_query::local::Typed::new(category.kind(), true),
        position,
    };
    let sides = super::bound::unify(vec![value, Bound::literal(literal, position)?])?;
    Bound::apply(Node::Compare(Comparison::Equal), sides)
}
