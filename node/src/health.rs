//! The standard health service (`grpc.health.v1`), for listed nodes: over the same mutual TLS.

use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Tells whether a node serves.
pub(crate) struct Health(HealthReporter);

impl Health {
    /// Adds the service to `routes`. It says that the node as a whole, `""`, serves.
    pub(crate) fn beside(routes: Routes) -> (Self, Routes) {
        let (reporter, service) = tonic_health::server::health_reporter();
        (Self(reporter), routes.add_service(service))
    }

    /// Says that the node is stopping.
    pub(crate) async fn stops(&self) {
        self.0
            .set_service_status("", ServingStatus::NotServing)
            .await;
    }
}
