//! The question of a command: SQL, or a regression as `--regress 'y ~ x1 + x2' --from DOCTYPE`.

use anyhow::anyhow;
use clap::Args;

use crate::exit::Exit;

#[derive(Args)]
pub(crate) struct Text {
    /// The question.
    sql: Option<String>,
    /// A linear regression instead: the value before ~ by the terms after it.
    #[arg(
        long,
        value_name = "Y ~ X1 + X2",
        requires = "from",
        conflicts_with = "sql"
    )]
    regress: Option<String>,
    /// The doctype that a regression reads, or an inner SELECT in parentheses.
    #[arg(long, value_name = "DOCTYPE", requires = "regress")]
    from: Option<String>,
    /// Which homes a regression is over, as in WHERE.
    #[arg(long = "where", value_name = "CONDITION", requires = "regress")]
    condition: Option<String>,
}

impl Text {
    /// Returns the question as one text, or `None` if the command line has none.
    pub(crate) fn written(&self) -> Option<String> {
        // clap accepts --regress and --from only together, so both are given or neither.
        let (Some(formula), Some(from)) = (&self.regress, &self.from) else {
            return self.sql.clone();
        };
        let condition = self.condition.as_ref();
        let condition = condition.map_or(String::new(), |text| format!(" WHERE {text}"));
        Some(format!("REGRESS {formula} FROM {from}{condition}"))
    }

    /// Returns the question as one text.
    ///
    /// # Errors
    /// If the command line has none.
    pub(crate) fn sql(&self) -> Result<String, Exit> {
        self.written().ok_or_else(|| {
            Exit::misuse(anyhow!(
                "there is no question: write SQL, or --regress 'y ~ x1 + x2' --from DOCTYPE"
            ))
        })
    }
}
