//! Texts of local queries and expressions, for people.

use std::fmt;

use super::{Aggregate, Category, Expr, LocalQuery, Node};
use crate::{quantise::Step, shape::Moment};

impl Expr {
    /// Returns the expression as SQL for people, with the given names of columns. No party runs this text.
    pub fn text(&self, columns: &[String]) -> String {
        self.fold(|node, operands: Vec<String>| {
            match node {
                Node::Null(_) => "NULL".into(),
                Node::Boolean(value) => value.to_string().to_uppercase(),
                Node::Integer(value) => value.to_string(),
                Node::Real(value) => format!("{value:?}"),
                Node::Text(text) => quoted(text),
                Node::Column(index) => columns
                    .get(usize::from(*index))
                    .cloned()
                    .unwrap_or_else(|| format!("column {index}")),
                // PostgreSQL makes this conversion implicitly, so the text leaves it out.
                Node::ToReal => operands[0].clone(),
                Node::ToInteger => format!("CAST({} AS INTEGER)", operands[0]),
                Node::Negate => format!("-{}", operands[0]),
                Node::Arithmetic(operation) => {
                    infix(&operands, &format!(" {} ", operation.symbol()))
                }
                Node::Compare(comparison) => {
                    infix(&operands, &format!(" {} ", comparison.symbol()))
                }
                Node::Not => format!("NOT {}", operands[0]),
                Node::And(_) => infix(&operands, " AND "),
                Node::Or(_) => infix(&operands, " OR "),
                Node::IsNull => format!("({} IS NULL)", operands[0]),
                Node::In(_) => format!("({} IN ({}))", operands[0], operands[1..].join(", ")),
                Node::Between => format!(
                    "({} BETWEEN {} AND {})",
                    operands[0], operands[1], operands[2]
                ),
                Node::Like => infix(&operands, " LIKE "),
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
                Node::Coalesce(_) => call("COALESCE", &operands),
                Node::NullIf => call("NULLIF", &operands),
                Node::Function(function) => call(function.name(), &operands),
            }
        })
    }
}

impl Aggregate {
    /// Returns the aggregate as SQL for people.
    pub fn text(&self, fields: &[String]) -> String {
        let argument = self
            .argument
            .as_ref()
            .map_or("*".into(), |a| a.text(fields));
        format!("{}({argument})", self.function.name())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(&quoted(text)),
        }
    }
}

/// SQL text of a query, for people.
impl LocalQuery {
    /// Returns the query as one SELECT for people, with groups and clamped measures as columns. No party runs this
    /// text.
    pub fn sql(&self) -> String {
        let fields: Vec<String> = self.fields().map(str::to_owned).collect();
        let (rows, columns) = match &self.inner {
            None => (self.doctype.clone(), fields),
            Some(inner) => {
                let texts = inner.aggregates.iter().map(|a| a.text(&fields));
                let texts: Vec<String> = texts.collect();
                let named = (1..).zip(&texts).map(|(n, text)| format!("{text} AS v{n}"));
                let rows = format!(
                    "(SELECT {} FROM {}{}) AS home",
                    named.collect::<Vec<_>>().join(", "),
                    self.doctype,
                    where_clause(inner.filter.as_ref(), &fields).replace('\n', " "),
                );
                (rows, (1..=texts.len()).map(|n| format!("v{n}")).collect())
            }
        };
        let keys = self.keys.iter().map(|key| key.expr.text(&columns));
        let measures = self.measures.iter().map(|measure| {
            let expr = measure.expr.text(&columns);
            match &measure.quantiser {
                None => format!("{expr} IS NOT NULL"),
                Some(q) => match q.step() {
                    Step::Exact(step) => format!("clamp({expr}, {}, {}, {step})", q.lo(), q.hi()),
                    Step::Levels4096 => format!("clamp({expr}, {}, {})", q.lo(), q.hi()),
                },
            }
        });
        let mut items: Vec<String> = keys.chain(measures).collect();
        if items.is_empty() {
            items.push("1".into());
        }
        let filter = where_clause(self.filter.as_ref(), &columns);
        format!("SELECT {}\nFROM {rows}{filter}", items.join(", "))
    }
}

impl fmt::Display for LocalQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<String> = self.fields().map(str::to_owned).collect();
        let read = if fields.is_empty() {
            "nothing but whether there is one".into()
        } else {
            fields.join(", ")
        };
        writeln!(f, "reads of {}: {read}", self.doctype)?;
        let mut columns = fields.clone();
        if let Some(inner) = &self.inner {
            if let Some(filter) = &inner.filter {
                writeln!(f, "keeps documents where {}", filter.text(&fields))?;
            }
            columns = inner.aggregates.iter().map(|a| a.text(&fields)).collect();
            writeln!(f, "takes over a home's documents: {}", columns.join(", "))?;
        }
        if let Some(filter) = &self.filter {
            writeln!(f, "keeps homes where {}", filter.text(&columns))?;
        }
        for key in &self.keys {
            let mut values: Vec<String> = key.categories.iter().map(Category::to_string).collect();
            values.extend(key.nullable.then(|| "NULL".into()));
            let values = values.join(", ");
            writeln!(f, "groups by {} into {values}", key.expr.text(&columns))?;
        }
        for measure in &self.measures {
            let expr = measure.expr.text(&columns);
            match &measure.quantiser {
                None => writeln!(f, "counts where {expr} is not NULL")?,
                Some(q) => {
                    write!(f, "measures {expr} within {} and {}, ", q.lo(), q.hi())?;
                    match q.step() {
                        Step::Exact(step) => write!(f, "in steps of {step}")?,
                        Step::Levels4096 => write!(f, "at 4096 levels, rounded at random")?,
                    }
                    writeln!(f)?;
                }
            }
        }
        let sums: Vec<String> = self
            .moments
            .iter()
            .map(|m| self.summed(m, &columns))
            .collect();
        if !sums.is_empty() {
            writeln!(f, "adds up over homes: {}", sums.join("; "))?;
        }
        Ok(())
    }
}

impl LocalQuery {
    /// Describes what a moment sums, for people.
    fn summed(&self, moment: &Moment, columns: &[String]) -> String {
        match moment {
            Moment::Levels { variable, .. } => {
                format!(
                    "who is at each level of {}",
                    self.measured(*variable, columns)
                )
            }
            Moment::Product { present, factors } => {
                let conditions: Vec<String> = present
                    .iter()
                    .map(|number| self.measured(*number, columns))
                    .collect();
                let conditions = conditions.join(" and ");
                let factors: Vec<String> = factors
                    .iter()
                    .map(|number| self.measured(*number, columns))
                    .collect();
                match factors.as_slice() {
                    [] => format!("who has {conditions}"),
                    factors if present.len() > 1 => {
                        format!("{} where there is {conditions}", factors.join(" * "))
                    }
                    factors => factors.join(" * "),
                }
            }
        }
    }

    /// Returns the text of the expression that a variable measures; empty if no variable has this number.
    fn measured(&self, number: u16, columns: &[String]) -> String {
        let measure = self.measures.get(usize::from(number));
        measure.map_or_else(String::new, |m| m.expr.text(columns))
    }
}

/// Returns the operands in parentheses, separated by `symbol`.
fn infix(operands: &[String], symbol: &str) -> String {
    format!("({})", operands.join(symbol))
}

/// Returns the text of a call of the function `name`.
fn call(name: &str, operands: &[String]) -> String {
    format!("{name}({})", operands.join(", "))
}

/// Returns the WHERE clause after a line break; empty without a filter.
fn where_clause(filter: Option<&Expr>, columns: &[String]) -> String {
    filter.map_or_else(String::new, |f| format!("\nWHERE {}", f.text(columns)))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
