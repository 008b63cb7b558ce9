//! The querier's privacy budget.

use dispers_base::{
    encoding::{decode, to_bytes},
    signed::Signed,
};
use dispers_node::now;
use dispers_privacy::{Budget, BudgetRequest};
use dispers_proto::v1::Message;

use crate::{Error, Querier, conductors::refused};

impl Querier {
    /// Returns the privacy budget that this querier has spent, as counted by the aggregator that counts the most.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no aggregator reports a budget.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::Querier;
    ///
    /// let budget = Querier::open(path)?.budget().await?;
    /// for expense in &budget.expenses {
    ///     println!("query {} cost rho {}", expense.query, expense.rho);
    /// }
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn budget(&self) -> Result<Budget, Error> {
        let request = BudgetRequest {
            querier: self.node.name.clone(),
            issued: now(),
        };
        let body = to_bytes(&Signed::new(&request, &self.node.signing));
        let reply = self.conductors.call(|mut conductor| {
            let body = body.clone();
            async move { conductor.budgets(Message { body }).await }
        });
        let reply = reply.await.map_err(|status| refused(&status))?;
        let budgets = reply.budgets.iter().filter(|budget| !budget.is_empty());
        let budgets = budgets.filter_map(|bytes| decode(bytes).ok());
        budgets
            .max_by_key(spent)
            .ok_or_else(|| Error::Unreachable("no aggregator told its budget".into()))
    }
}

/// Returns the sum of a budget's expenses.
fn spent(budget: &Budget) -> u64 {
    let rho = budget.expenses.iter().map(|expense| expense.rho.0);
    rho.fold(0, u64::saturating_add)
}
