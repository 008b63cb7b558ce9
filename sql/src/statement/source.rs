//! FROM: a doctype with one document per home, or an inner SELECT that makes one row of several documents.

use sqlparser::ast::{
    GroupByExpr, Ident, ObjectName, Select, SelectItem, TableAlias, TableFactor, TableWithJoins,
};

use super::error::{Position, SqlError};
use super::expression::{bind, bind_condition};
use super::functions::as_call;
use super::names::{Aggregates, Derived, Documents, Names, dotted, position_of};
use super::near::did_you_mean;
use super::parse::select as only_select;
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, FieldKind},
    local::{Aggregate, Column, Expr, Inner},
};

/// The source of a query's rows: a doctype, and possibly an inner SELECT over its documents.
pub(crate) struct Source<'a> {
    pub(crate) doctype: &'a Doctype,
    columns: Columns<'a>,
    inner_filter: Option<Expr>,
}

enum Columns<'a> {
    Fields(Documents<'a>),
    Inner(Derived<'a>),
}

impl<'a> Source<'a> {
    /// Returns the columns that the outer SELECT sees.
    pub(crate) fn names(&mut self) -> &mut (dyn Names + 'a) {
        match &mut self.columns {
            Columns::Fields(documents) => documents,
            Columns::Inner(derived) => derived,
        }
    }

    /// Returns the columns that a home reads, and the inner SELECT that reduces them to one row. Call this
    /// once every name is bound, because only columns that were named are read.
    pub(crate) fn finish(self) -> (Vec<Column>, Option<Inner>) {
        match self.columns {
            Columns::Fields(documents) => (documents.fields(), None),
            Columns::Inner(derived) => {
                let inner = Inner {
                    filter: self.inner_filter,
                    aggregates: derived.aggregates,
                };
                (derived.documents.fields(), Some(inner))
            }
        }
    }
}

/// Binds the FROM of the outer SELECT.
pub(crate) fn bind_source<'a>(
    from: &[TableWithJoins],
    catalogue: &'a Catalogue,
) -> Result<Source<'a>, SqlError> {
    bind_table(from, catalogue, false)
}

/// Binds FROM for training, where each of a home's documents counts.
pub(crate) fn bind_documents<'a>(
    from: &[TableWithJoins],
    catalogue: &'a Catalogue,
) -> Result<Source<'a>, SqlError> {
    bind_table(from, catalogue, true)
}

fn bind_table<'a>(
    from: &[TableWithJoins],
    catalogue: &'a Catalogue,
    several: bool,
) -> Result<Source<'a>, SqlError> {
    match only_factor(from)? {
        TableFactor::Derived {
            lateral: false,
            subquery,
            alias,
            sample: None,
        } => {
            let qualifier = plain_alias(alias.as_ref())?;
            inner(&*only_select((**subquery).clone())?, qualifier, catalogue)
        }
        factor => {
            let (doctype, alias, position) = table(factor, catalogue)?;
            // The outer SELECT needs one row per home. An inner SELECT must first reduce several documents to
            // one row (protocol.md §10).
            if doctype.cardinality == Cardinality::Many && !several {
                return Err(several_documents(doctype, position));
            }
            Ok(Source {
                doctype,
                columns: Columns::Fields(Documents::new(doctype, alias)),
                inner_filter: None,
            })
        }
    }
}

fn inner<'a>(
    select: &Select,
    qualifier: Option<&Ident>,
    catalogue: &'a Catalogue,
) -> Result<Source<'a>, SqlError> {
    let factor = only_factor(&select.from)?;
    if matches!(factor, TableFactor::Derived { .. }) {
        return Err(SqlError::new(
            None,
            "an inner SELECT inside an inner SELECT is not supported",
            "aggregate the doctype's documents in one",
        ));
    }
    let (doctype, alias, _) = table(factor, catalogue)?;
    if !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty()) {
        return Err(SqlError::new(
            None,
            "GROUP BY in the inner SELECT is not supported: a home's documents become one row",
            "leave it out, and group homes in the outer SELECT",
        ));
    }
    let mut documents = Documents::new(doctype, alias);
    // The filter is bound first: it may show that a column is not NULL where the aggregates read it.
    let filter = match &select.selection {
        Some(condition) => {
            let bound = bind_condition(condition, &mut documents)?;
            documents.narrow(&bound.expr.non_null_where_true());
            Some(bound.expr)
        }
        None => None,
    };
    let mut names = Aggregates {
        documents: &mut documents,
        aggregates: Vec::new(),
    };
    let mut columns: Vec<(String, Expr)> = Vec::new();
    for item in &select.projection {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            // PostgreSQL names an unnamed AVG(x) column avg.
            SelectItem::UnnamedExpr(expr) => match as_call(expr).transpose()? {
                Some(call) => (expr, call.name),
                None => (expr, expr.to_string()),
            },
            _ => {
                return Err(SqlError::new(
                    None,
                    "* in the inner SELECT is not supported",
                    "write which aggregates to take: AVG(x) AS x",
                ));
            }
        };
        let bound = bind(expr, &mut names)?;
        if columns
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            return Err(SqlError::new(
                bound.position,
                format!("the inner SELECT has two columns {name}"),
                "name one differently with AS",
            ));
        }
        columns.push((name, bound.expr));
    }
    let aggregates: Vec<Aggregate> = names.aggregates;
    if aggregates.is_empty() {
        return Err(SqlError::new(
            None,
            "the inner SELECT takes nothing of a home's documents",
            "write which aggregates to take: AVG(x) AS x",
        ));
    }
    let fields = documents.types();
    let types = aggregates
        .iter()
        .map(|a| a.typed(&fields).expect("typed when it was bound"))
        .collect();
    Ok(Source {
        doctype,
        columns: Columns::Inner(Derived {
            documents,
            qualifier: qualifier.map(|q| q.value.clone()),
            aggregates,
            columns,
            types,
        }),
        inner_filter: filter,
    })
}

fn only_factor(from: &[TableWithJoins]) -> Result<&TableFactor, SqlError> {
    match from {
        [] => Err(SqlError::new(
            None,
            "FROM is missing",
            "write FROM and a doctype",
        )),
        [table] if table.joins.is_empty() => Ok(&table.relation),
        _ => Err(SqlError::new(
            None,
            "joins are not supported: a home answers from one doctype",
            "write one doctype in FROM, and choose homes with concept('a>b')",
        )),
    }
}

type Table<'a, 't> = (&'a Doctype, Option<&'t Ident>, Option<Position>);

fn table<'a, 't>(
    factor: &'t TableFactor,
    catalogue: &'a Catalogue,
) -> Result<Table<'a, 't>, SqlError> {
    // The pattern names every field, so that a new clause of the parser does not compile until it is decided
    // here.
    let TableFactor::Table {
        name: ObjectName(parts),
        alias,
        args: None,
        with_hints,
        version: None,
        with_ordinality: false,
        partitions,
        json_path: None,
        sample: None,
        index_hints,
    } = factor
    else {
        return Err(unsupported_source());
    };
    if !(with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty()) {
        return Err(unsupported_source());
    }
    let idents: Option<Vec<Ident>> = parts.iter().map(|p| p.as_ident().cloned()).collect();
    let idents = idents.ok_or_else(unsupported_source)?;
    let name = dotted(&idents);
    let position = position_of(&idents);
    let Some(doctype) = catalogue.doctype(&name) else {
        let known = catalogue.doctypes.iter().map(|d| d.name.as_str());
        return Err(SqlError::new(
            position,
            format!("there is no doctype {name}"),
            did_you_mean(&name, known, "the catalogue lists none"),
        ));
    };
    Ok((doctype, plain_alias(alias.as_ref())?, position))
}

fn plain_alias(alias: Option<&TableAlias>) -> Result<Option<&Ident>, SqlError> {
    match alias {
        Some(alias) if !alias.columns.is_empty() || alias.at.is_some() => Err(SqlError::new(
            position_of(std::slice::from_ref(&alias.name)),
            "an alias with columns is not supported",
            "name the columns with AS in the inner SELECT",
        )),
        alias => Ok(alias.map(|a| &a.name)),
    }
}

fn unsupported_source() -> SqlError {
    SqlError::new(
        None,
        "FROM takes a doctype or one inner SELECT",
        "write FROM doctype, or FROM (SELECT AVG(x) AS x FROM doctype) AS home",
    )
}

fn several_documents(doctype: &Doctype, position: Option<Position>) -> SqlError {
    let name = &doctype.name;
    let number = doctype.fields.iter().find(|f| f.kind != FieldKind::Text);
    let take = number.map_or("COUNT(*) AS n".to_owned(), |field| {
        format!("AVG({0}) AS {0}", field.name)
    });
    SqlError::new(
        position,
        format!("a home may hold several documents of {name}"),
        format!("make one row of them: FROM (SELECT {take} FROM {name}) AS home"),
    )
}
