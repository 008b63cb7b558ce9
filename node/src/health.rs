//! The standard health service (`grpc.health.v1`), for listed peers over the same mutual TLS.

use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Reporter of the node's health.
pub(crate) struct Health(HealthReporter);

impl Health {
    /// Adds the service to `routes`. The node as a whole, named `""`, is reported as serving.
    pub(crate) fn beside(routes: Routes) -> (Self, Routes) {
        let (reporter, service) = tonic_health::server::health_reporter();
        (Self(reporter), routes.add_service(service))
    }

    /// Reports that the node is stopping.
    pub(crate) async fn stops(&self) {
        self.0
            .set_service_status("", ServingStatus::NotServing)
            .await;
    }
}
