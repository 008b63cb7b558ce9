//! Models as subcommands, each with the options that it uses.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Subcommand, ValueEnum};
use dispers_training::Family;

use super::options::{Chosen, Gradient, Label, Penalty, Plot, Rounds, Shared, positive_or_zero};
use crate::exit::Exit;

/// Model to train. `E` are the options of the command around it.
#[derive(Subcommand)]
pub(crate) enum Model<E: Args> {
    /// Linear regression.
    Linear(Command<Linear, E>),
    /// Logistic regression, of two classes or more.
    Logistic(Command<Logistic, E>),
    /// Linear support vector machine.
    Svm(Command<Svm, E>),
    /// Naive Bayes.
    NaiveBayes(Command<NaiveBayes, E>),
    /// Clusters around means.
    Kmeans(Command<Kmeans, E>),
    /// A perceptron with one or two hidden layers.
    Mlp(Command<Mlp, E>),
}

/// A model's own options, those of every model, and those of the command around it.
#[derive(Args)]
pub(crate) struct Command<M: Args, E: Args> {
    #[command(flatten)]
    model: M,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    around: E,
}

impl<E: Args> Model<E> {
    /// Returns the model's own options, those of every model, and those of the command around it.
    pub(super) fn parts(self) -> (Box<dyn Options>, Shared, E) {
        match self {
            Self::Linear(command) => command.parts(),
            Self::Logistic(command) => command.parts(),
            Self::Svm(command) => command.parts(),
            Self::NaiveBayes(command) => command.parts(),
            Self::Kmeans(command) => command.parts(),
            Self::Mlp(command) => command.parts(),
        }
    }
}

impl<M: Args + Options + 'static, E: Args> Command<M, E> {
    fn parts(self) -> (Box<dyn Options>, Shared, E) {
        (Box::new(self.model), self.shared, self.around)
    }
}

/// Own options of a model.
pub(crate) trait Options {
    /// Returns the model with its settings. `noisy` is true if the session has noise.
    ///
    /// # Errors
    /// For an option out of its range.
    fn chosen(&self, noisy: bool) -> Result<Chosen, Exit>;

    /// Returns the file to which the model is written as ONNX, if any.
    fn onnx(&self) -> Option<&Path> {
        None
    }

    /// Returns the file in which the losses are drawn, if any.
    fn plot(&self) -> Option<&Path> {
        None
    }
}

/// Options of linear regression.
#[derive(Args)]
pub(crate) struct Linear {
    #[command(flatten)]
    label: Label,
    #[command(flatten)]
    penalty: Penalty,
    /// Also write the model as ONNX.
    #[arg(long, value_name = "FILE.onnx")]
    onnx: Option<PathBuf>,
}

impl Options for Linear {
    fn chosen(&self, _noisy: bool) -> Result<Chosen, Exit> {
        // With fewer bits, rounding would hide variances, and columns would seem to follow from one another.
        Ok(Chosen {
            l2: self.penalty.or(0.0)?,
            ..Chosen::of(Family::Linear, Some(&self.label), 1, 16)
        })
    }

    fn onnx(&self) -> Option<&Path> {
        self.onnx.as_deref()
    }
}

/// How logistic regression is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Solver {
    /// Gradient descent with momentum.
    Gradient,
    /// Gradient descent with steps that adapt to each weight, for many columns that are seldom 1.
    Adam,
    /// Newton's steps: few rounds, of second moments.
    Newton,
}

/// Options of logistic regression.
#[derive(Args)]
pub(crate) struct Logistic {
    #[command(flatten)]
    label: Label,
    #[command(flatten)]
    gradient: Gradient,
    /// How logistic regression is solved, by gradients where it is left out.
    #[arg(long, value_enum)]
    solver: Option<Solver>,
}

impl Options for Logistic {
    fn chosen(&self, noisy: bool) -> Result<Chosen, Exit> {
        let solver = self.solver.unwrap_or(Solver::Gradient);
        let family = Family::Logistic {
            newton: solver == Solver::Newton,
        };
        let label = Some(&self.label);
        match solver {
            Solver::Gradient => {
                // With noise in every step, shorter steps let the noise of several rounds average out.
                let rate = if noisy { 0.3 } else { 1.0 };
                let chosen = Chosen::of(family, label, 40, 8);
                self.gradient.apply(chosen, rate, 0.0)
            }
            Solver::Adam => {
                let chosen = Chosen {
                    adaptive: true,
                    ..Chosen::of(family, label, 40, 8)
                };
                self.gradient.apply(chosen, 0.2, 0.0)
            }
            Solver::Newton => {
                // An option that has no effect is refused: its author expects one.
                if let Some(name) = self.gradient.first_of_steps() {
                    return Err(Exit::misuse(anyhow!(
                        "--solver newton has no use for {name}: leave it out"
                    )));
                }
                let chosen = Chosen::of(family, label, 6, 16);
                self.gradient.apply(chosen, 1.0, 0.0)
            }
        }
    }

    fn onnx(&self) -> Option<&Path> {
        self.gradient.onnx.as_deref()
    }

    fn plot(&self) -> Option<&Path> {
        self.gradient.plot.file()
    }
}

/// How a linear machine is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SvmSolver {
    /// Gradient descent with momentum.
    Gradient,
    /// Gradient descent with steps that adapt to each weight, for many columns that are seldom 1.
    Adam,
}

/// Options of a linear support vector machine.
#[derive(Args)]
pub(crate) struct Svm {
    #[command(flatten)]
    label: Label,
    #[command(flatten)]
    gradient: Gradient,
    /// How the machine is solved, by gradients where it is left out.
    #[arg(long, value_enum)]
    solver: Option<SvmSolver>,
}

impl Options for Svm {
    fn chosen(&self, _noisy: bool) -> Result<Chosen, Exit> {
        let adaptive = self.solver == Some(SvmSolver::Adam);
        let rate = if adaptive { 0.05 } else { 0.1 };
        let chosen = Chosen {
            adaptive,
            ..Chosen::of(Family::Svm, Some(&self.label), 40, 8)
        };
        self.gradient.apply(chosen, rate, 1e-3)
    }

    fn onnx(&self) -> Option<&Path> {
        self.gradient.onnx.as_deref()
    }

    fn plot(&self) -> Option<&Path> {
        self.gradient.plot.file()
    }
}

/// Options of naive Bayes.
#[derive(Args)]
pub(crate) struct NaiveBayes {
    #[command(flatten)]
    label: Label,
    /// Longest update of a home; a longer one is scaled down. By default few are.
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    clip: Option<f64>,
}

impl Options for NaiveBayes {
    fn chosen(&self, _noisy: bool) -> Result<Chosen, Exit> {
        Ok(Chosen {
            clip: self.clip,
            ..Chosen::of(Family::Bayes, Some(&self.label), 1, 16)
        })
    }
}

/// Options of k-means.
#[derive(Args)]
pub(crate) struct Kmeans {
    /// Clusters, 3 where it is left out.
    #[arg(long, value_name = "K")]
    clusters: Option<u16>,
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    penalty: Penalty,
    #[command(flatten)]
    plot: Plot,
}

impl Options for Kmeans {
    fn chosen(&self, _noisy: bool) -> Result<Chosen, Exit> {
        let clusters = self.clusters.unwrap_or(3);
        let family = Family::KMeans {
            clusters,
            // 512 is the bound of the model's own check.
            candidates: clusters.saturating_mul(5).clamp(16, 512),
        };
        // Clusters have no weights. The penalty only lets columns pass that never vary.
        Ok(Chosen {
            l2: self.penalty.or(1.0)?,
            ..Chosen::of(family, None, self.rounds.or(12), 16)
        })
    }

    fn plot(&self) -> Option<&Path> {
        self.plot.file()
    }
}

/// Options of a perceptron.
#[derive(Args)]
pub(crate) struct Mlp {
    #[command(flatten)]
    label: Label,
    #[command(flatten)]
    gradient: Gradient,
    /// Width of each hidden layer, one of 16 where it is left out.
    #[arg(long, value_name = "W,W", value_delimiter = ',')]
    hidden: Vec<u16>,
    /// Passes over a home's documents in each round, 1 where it is left out.
    #[arg(long, value_name = "N")]
    epochs: Option<u8>,
    /// Length of a home's own steps, 0.1 where it is left out.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    local_lr: Option<f64>,
}

impl Options for Mlp {
    fn chosen(&self, _noisy: bool) -> Result<Chosen, Exit> {
        let family = Family::Mlp {
            hidden: match self.hidden.is_empty() {
                true => vec![16],
                false => self.hidden.clone(),
            },
            epochs: self.epochs.unwrap_or(1),
            rate: positive_or_zero("--local-lr", self.local_lr)?.unwrap_or(0.1),
        };
        let chosen = Chosen::of(family, Some(&self.label), 60, 8);
        self.gradient.apply(chosen, 0.02, 0.0)
    }

    fn onnx(&self) -> Option<&Path> {
        self.gradient.onnx.as_deref()
    }

    fn plot(&self) -> Option<&Path> {
        self.gradient.plot.file()
    }
}
