//! Parsing of a text to one SELECT, and refusal of the clauses that are not supported.

use sqlparser::ast::{
    Expr as Ast, GroupByExpr, LimitClause, OrderBy, OrderByExpr, OrderByKind, Query, Select,
    SelectFlavor, SetExpr, Statement, Value, ValueWithSpan,
};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::error::{Position, SqlError};
use super::walk::position_of;

/// Longest SQL text, in bytes.
pub const MAX_SQL: usize = 64 * 1024;
/// Largest number of tokens. Chains such as `a + a + …` nest as deeply as they are long, so this bounds the
/// depth.
const MAX_TOKENS: usize = 4096;

/// Standard SQL in which a keyword may be a name wherever that is not ambiguous.
#[derive(Debug)]
struct Standard;

impl Dialect for Standard {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_reserved_for_identifier(&self, _: Keyword) -> bool {
        false
    }

    // FILTER is part of the supported SQL.
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    // Parses ROLLUP, CUBE and GROUPING SETS, so that they are refused as such.
    fn supports_group_by_expr(&self) -> bool {
        true
    }
}

/// A SELECT with its ORDER BY, OFFSET and LIMIT.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) select: Box<Select>,
    pub(crate) order: Vec<OrderByExpr>,
    pub(crate) offset: u64,
    pub(crate) limit: Option<u64>,
}

/// Parses `sql`, which must consist of a single SELECT.
pub(crate) fn parse(sql: &str) -> Result<Selected, SqlError> {
    if sql.len() > MAX_SQL {
        return Err(SqlError::new(
            None,
            "the query is longer than 64 KiB",
            "write a shorter one",
        ));
    }
    let end = end_of(sql);
    let dialect = Standard;
    // Tokens are counted before parsing: the parser recurses over the whole text.
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|e| syntax(&e.to_string(), end))?;
    let words = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)));
    if words.count() > MAX_TOKENS {
        return Err(SqlError::new(
            None,
            "the query has more than 4096 words and signs",
            "write a shorter one",
        ));
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let statements = parser.parse_statements().map_err(|e| match e {
        ParserError::RecursionLimitExceeded => SqlError::new(
            None,
            "the query is nested too deeply",
            "write fewer parentheses and CASE inside CASE",
        ),
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => syntax(&text, end),
    })?;
    // The parser stops at a stray END without an error.
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let what = format!("{} is not expected here", rest.token);
        let at = Position::of(rest.span.start);
        return Err(SqlError::new(at, what, "end the query before it"));
    }
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (None, _) => Err(SqlError::new(
            None,
            "the query is empty",
            "write SELECT COUNT(*) FROM a doctype, for example",
        )),
        (Some(_), Some(_)) => Err(SqlError::new(
            None,
            "there are several statements",
            "submit each SELECT as a query of its own",
        )),
        (Some(Statement::Query(query)), None) => outer(*query),
        (Some(_), None) => Err(SqlError::new(
            Some(Position { line: 1, column: 1 }),
            "only SELECT is understood",
            "write SELECT … FROM …",
        )),
    }
}

/// Returns the outer SELECT of `query` with its order and limit.
fn outer(query: Query) -> Result<Selected, SqlError> {
    if query.fetch.is_some() {
        return Err(SqlError::new(
            None,
            "FETCH is not supported",
            "write LIMIT n instead",
        ));
    }
    let (body, order_by) = (&query.body, &query.order_by);
    let limit_clause = &query.limit_clause;
    // The whole query may be in parentheses.
    if let (SetExpr::Query(inner), None, None) = (&**body, order_by, limit_clause) {
        return outer((**inner).clone());
    }
    let order = match order_by {
        None => Vec::new(),
        Some(OrderBy {
            kind: OrderByKind::Expressions(items),
            interpolate: None,
        }) => items.clone(),
        Some(_) => {
            return Err(SqlError::new(
                None,
                "ORDER BY ALL is not supported",
                "name the columns to order by",
            ));
        }
    };
    let (limit, offset) = match limit_clause {
        None => (None, 0),
        Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        }) if limit_by.is_empty() => {
            let limit = limit.as_ref().map(|limit| whole(limit, "LIMIT"));
            let offset = offset.as_ref().map(|o| whole(&o.value, "OFFSET"));
            (limit.transpose()?, offset.transpose()?.unwrap_or(0))
        }
        Some(_) => {
            return Err(SqlError::new(
                None,
                "LIMIT of this form is not supported",
                "write LIMIT n OFFSET m",
            ));
        }
    };
    let plain = Query {
        order_by: None,
        limit_clause: None,
        ..query
    };
    Ok(Selected {
        select: select(plain)?,
        order,
        offset,
        limit,
    })
}

fn whole(ast: &Ast, clause: &str) -> Result<u64, SqlError> {
    let number = match ast {
        Ast::Value(ValueWithSpan {
            value: Value::Number(text, _),
            ..
        }) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        SqlError::new(
            position_of(ast),
            format!("{clause} {ast} is not a whole number"),
            format!("write {clause} 10, for example"),
        )
    })
}

/// Returns the SELECT of `query`.
///
/// # Errors
/// If `query` has any other clause.
pub(super) fn select(query: Query) -> Result<Box<Select>, SqlError> {
    refuse_clauses(&query)?;
    match *query.body {
        SetExpr::Select(select) => {
            only_supported(&select)?;
            Ok(select)
        }
        SetExpr::Query(query) => self::select(*query),
        SetExpr::SetOperation { .. } => Err(SqlError::new(
            None,
            "UNION, INTERSECT and EXCEPT are not supported",
            "submit each SELECT as a query of its own",
        )),
        _ => Err(SqlError::new(
            None,
            "only SELECT is understood",
            "write SELECT … FROM …",
        )),
    }
}

/// Refuses the clauses of a query that are not supported.
fn refuse_clauses(query: &Query) -> Result<(), SqlError> {
    // The pattern names every field, so that a new clause of the parser does not compile until it is decided
    // here.
    let Query {
        with,
        body: _,
        order_by,
        limit_clause,
        fetch: _,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    refuse(
        None,
        with.is_some(),
        "WITH is not supported",
        "write the inner SELECT in FROM: FROM (SELECT AVG(x) AS x FROM …) AS home",
    )?;
    refuse(
        None,
        order_by.is_some() || limit_clause.is_some(),
        "ORDER BY and LIMIT inside a query are not supported",
        "write them at the end of the outer SELECT",
    )?;
    refuse(
        None,
        !locks.is_empty()
            || for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty(),
        "a clause after the SELECT is not supported",
        "write only SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY and LIMIT",
    )?;
    Ok(())
}

fn refuse(
    position: Option<Position>,
    present: bool,
    what: &str,
    instead: &str,
) -> Result<(), SqlError> {
    match present {
        true => Err(SqlError::new(position, what, instead)),
        false => Ok(()),
    }
}

fn only_supported(select: &Select) -> Result<(), SqlError> {
    // As in `refuse_clauses`, every field is named.
    let Select {
        select_token,
        optimizer_hints: _,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    let at = Position::of(select_token.0.span.start);
    refuse(
        at,
        distinct.is_some(),
        "SELECT DISTINCT is not supported",
        "write GROUP BY with the columns of which each value counts once",
    )?;
    refuse(
        at,
        !named_window.is_empty() || qualify.is_some(),
        "window functions are not supported",
        "write GROUP BY instead",
    )?;
    let (all, modifiers) = match group_by {
        GroupByExpr::All(modifiers) => (true, modifiers),
        GroupByExpr::Expressions(_, modifiers) => (false, modifiers),
    };
    refuse(
        at,
        all || !modifiers.is_empty(),
        "GROUP BY ALL, ROLLUP, CUBE and TOTALS are not supported",
        "name the columns in GROUP BY, and submit totals as a query of their own",
    )?;
    refuse(
        at,
        select_modifiers.as_ref().is_some_and(|m| m.is_any_set())
            || top.is_some()
            || exclude.is_some()
            || into.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || value_table_mode.is_some()
            || *flavor != SelectFlavor::Standard,
        "a clause of this SELECT is not supported",
        "write only SELECT, FROM, WHERE and GROUP BY",
    )
}

/// Converts an error of the parser, whose text ends with the position: `… at Line: 1, Column: 8`.
fn syntax(text: &str, end: Position) -> SqlError {
    let (message, position) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => {
            let numbers = place.split_once(", Column: ");
            let position = numbers.and_then(|(line, column)| {
                let (line, column) = (line.parse().ok()?, column.trim().parse().ok()?);
                Some(Position { line, column })
            });
            (message, position)
        }
        None => (text, None),
    };
    let message = message.trim().replace("EOF", "the end of the query");
    let position = position.filter(|p| p.line > 0).unwrap_or(end);
    SqlError::new(
        Some(position),
        format!("this is not SQL: {message}"),
        "write SELECT … FROM … [WHERE …] [GROUP BY …], texts in 'single quotes'",
    )
}

/// Returns the position after the last character.
fn end_of(sql: &str) -> Position {
    let last = sql.rsplit('\n').next().unwrap_or_default();
    Position {
        line: 1 + sql.matches('\n').count() as u64,
        column: 1 + last.chars().count() as u64,
    }
}
