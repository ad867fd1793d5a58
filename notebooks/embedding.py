# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A mixed model inside a larger model
#
# `gj.marginal_loglik` and `gj.estimate` are pure functions of arrays. So a mixed model can be a
# part of whatever else JAX differentiates: a network in its predictor, a NumPyro model around it,
# or a hyperparameter that is tuned through the fit.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import glmmjax as gj

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## A network as the fixed part
#
# Counts in 80 groups. The mean depends on x along a curve that nobody wrote down; groups have
# random intercepts. The network's output enters as the offset of every row. A minibatch is a subset
# of groups, whose log-likelihood is scaled up to the whole; all minibatches run the same program.

# %%
rng = np.random.default_rng(0)
groups, size = 80, 8
g = np.repeat(np.arange(groups), size)
x = rng.uniform(-2, 2, g.size)
truth = lambda x: np.sin(2 * x) + 0.5 * x  # noqa: E731
y = rng.poisson(np.exp(truth(x) + 0.8 * rng.normal(size=groups)[g])).astype(float)

model, data, start = gj.build("y ~ 1 + (1 | g)", {"y": y, "g": g}, "poisson")
rows = jnp.asarray(x.reshape(groups, size))  # groups lie one after another, as in `data`


def embed(net, data, rows):
    """The data with the network's output as the offset of the mean."""
    offset = data.buckets[0].offset.at[:, :size, 0].set(jax.vmap(jax.vmap(net))(rows[..., None]))
    return eqx.tree_at(lambda d: d.buckets[0].offset, data, offset)


def loss(trained, index):
    net, params = trained
    batch = embed(net, gj.take_units(data, index), rows[index])
    return -gj.marginal_loglik(params, batch, model) * (groups / len(index))


optimiser = optax.adam(0.02)


@eqx.filter_jit
def step(trained, state, index):
    value, gradient = eqx.filter_value_and_grad(loss)(trained, index)
    updates, state = optimiser.update(gradient, state)
    return eqx.apply_updates(trained, updates), state, value


net = eqx.nn.MLP(1, "scalar", 16, 2, jax.nn.tanh, key=jax.random.key(0))
net = jax.tree.map(lambda a: a.astype(float) if eqx.is_inexact_array(a) else a, net)
trained = (net, start)
state = optimiser.init(eqx.filter(trained, eqx.is_inexact_array))
values = []
for _ in range(60):
    for index in np.split(rng.permutation(groups), 4):
        trained, state, value = step(trained, state, jnp.asarray(index))
    values.append(float(value))
net, params = trained

# %%
grid = np.linspace(-2, 2, 100)
curve = jax.vmap(net)(jnp.asarray(grid)[:, None]) + params.beta[0]
fig, ax = plt.subplots(figsize=(5, 3))
ax.plot(grid, truth(grid), "k--", label="truth")
ax.plot(grid, curve, label="network")
ax.set_xlabel("x")
ax.set_ylabel("log mean")
ax.legend()
plt.show()

# %% [markdown]
# With the network as it is, the intercept and the standard deviation of the groups are those of an
# ordinary mixed model, with the standard errors of one.

# %%
offset = jax.vmap(net)(jnp.asarray(x)[:, None])
fit = gj.glmm("y ~ 1 + (1 | g)", {"y": y, "g": g}, "poisson", offset=np.asarray(offset))
fit.tidy()[["group", "term", "estimate", "std_error", "conf_low", "conf_high"]]

# %% [markdown]
# ## In a NumPyro model
#
# `numpyro.factor` takes the likelihood with the random effects integrated out; priors and
# everything around it are NumPyro's.

# %%
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS


def program():
    beta = numpyro.sample("beta", dist.Normal(0, 2))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    params = type(start)(jnp.reshape(beta, (1,)), jnp.reshape(sd, (1,)), jnp.zeros(0))
    numpyro.factor("y", gj.marginal_loglik(params, embed(net, data, rows), model))


chain = MCMC(NUTS(program), num_warmup=200, num_samples=300, progress_bar=False)
chain.run(jax.random.key(1))
{name: (float(v.mean()), float(v.std())) for name, v in chain.get_samples().items()}

# %% [markdown]
# ## Tuning a penalty through the fit
#
# Twelve covariates, two of which matter, and few groups to learn from. The strength of a ridge
# penalty is found by bisection on the slope of the validation log-likelihood, which goes through
# `gj.estimate`.

# %%
groups, size, p = 40, 5, 12
g = np.repeat(np.arange(groups), size)
X = rng.normal(size=(g.size, p))
eta = 0.4 * X[:, 0] - 0.3 * X[:, 1] + 0.5 * rng.normal(size=groups)[g]
frame = {"y": rng.poisson(np.exp(eta)).astype(float), "g": g}
frame |= {f"x{k}": X[:, k] for k in range(p)}
formula = "y ~ " + " + ".join(f"x{k}" for k in range(p)) + " + (1 | g)"
model, data, start = gj.build(formula, frame, "poisson")
train, held_out = gj.take_units(data, np.arange(15)), gj.take_units(data, np.arange(15, groups))


def validation(log_strength):
    ridge = lambda q: 0.5 * jnp.exp(log_strength) * (q.beta[1:] ** 2).sum()  # noqa: E731
    found = gj.estimate(model, train, start=start, penalty=ridge)
    return gj.marginal_loglik(found, held_out, model)


value_and_slope = jax.jit(jax.value_and_grad(validation))
low, high = -2.0, 6.0
for _ in range(12):  # bisection on the slope
    middle = 0.5 * (low + high)
    value, slope = value_and_slope(middle)
    low, high = (middle, high) if slope > 0 else (low, middle)
print(f"log strength {middle:.2f}, validation log-likelihood {value:.2f}")
print(f"without a penalty {value_and_slope(-20.0)[0]:.2f}")

# %% [markdown]
# `gj.estimate` is differentiable in the data as well: how far every row pulls the estimate of one
# coefficient is one reverse pass.


# %%
def first_slope(y):
    moved = eqx.tree_at(lambda d: d.buckets[0].y, data, y)
    return gj.estimate(model, moved, start=start).beta[1]


pull = jax.jit(jax.grad(first_slope))(data.buckets[0].y)
print(np.round(np.asarray(pull)[:3], 4))
