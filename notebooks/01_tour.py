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
# # A tour in five minutes
#
# Fit a mixed model, read it, predict, draw a picture. Then take the likelihood apart: gradients, a
# Hessian, and `vmap` over responses.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree

import glmmjax as gj

jax.config.update("jax_enable_x64", True)  # for the second half; fits are float64 without it

# %% [markdown]
# ## Fit
#
# In 15 herds, `incidence` of the `size` animals fell ill in each of four periods. The chance of
# falling ill depends on the period, and herds differ:
#
# $$\text{incidence}_{ij} \sim \text{Binomial}(\text{size}_{ij}, p_{ij}), \qquad
# \text{logit}\, p_{ij} = x_{ij}'\beta + b_i, \qquad b_i \sim N(0, \sigma^2).$$

# %%
data = gj.datasets.load("cbpp")
formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
fit = gj.glmm(formula, data, "binomial")
fit

# %% [markdown]
# ## Read
#
# Tables are pandas objects.

# %%
pd.DataFrame({"estimate": fit.params, "se": fit.bse, "p": fit.pvalues}).round(4)

# %%
fit.ranef(se=True).head()

# %% [markdown]
# Is Laplace's approximation good enough here? Adaptive quadrature with 25 nodes is as good as
# exact.

# %%
agq = gj.glmm(formula, data, "binomial", method="agq", nodes=25)
pd.DataFrame({"laplace": fit.params, "agq": agq.params}).round(4)

# %% [markdown]
# ## Predict
#
# For a herd that we know, for the typical herd (`b = 0`), and averaged over all herds that there
# might be. The last two differ, because the mean of a curve is not the curve of the mean.

# %%
periods = pd.DataFrame({"period": ["1", "2", "3", "4"], "herd": "3"})
pd.DataFrame(
    {
        "herd 3": fit.predict(periods),
        "typical herd": fit.predict(periods, effects="fixed"),
        "average": fit.predict(periods, effects="marginal"),
    },
    index=periods["period"],
).round(3)

# %% [markdown]
# ## A picture
#
# Each grey line is a herd; the black points are the typical herd, with 95 % confidence intervals.

# %%
grid = periods[["period"]].merge(data[["herd"]].drop_duplicates(), how="cross")
grid["p"] = fit.predict(grid)
typical = fit.predict(periods, effects="fixed", interval=0.95)

figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
for _, herd in grid.groupby("herd", observed=True):
    axes.plot(herd["period"], herd["p"], color="0.75", linewidth=1)
error = [typical["predict"] - typical["lower"], typical["upper"] - typical["predict"]]
axes.errorbar(periods["period"], typical["predict"], error, fmt="o", color="black", capsize=3)
axes.set(xlabel="period", ylabel="probability of falling ill", ylim=(0, None))
plt.show()

# %% [markdown]
# ## The likelihood as a function
#
# `gj.build` turns formula and data into arrays. `gj.marginal_loglik(params, data, model)` is a pure
# function of them, so every JAX transformation applies. Always `jit`: without it each operation is
# dispatched by itself.

# %%
model, arrays, start = gj.build(formula, data, "binomial")
params = fit.estimate.params
print(params)

loglik = jax.jit(gj.marginal_loglik)
print(float(loglik(params, arrays, model)), "is", fit.loglik)

# %% [markdown]
# The gradient at the optimum is zero. Minus the inverse of the Hessian is the covariance of the
# estimates. `ravel_pytree` makes one vector of the parameters.

# %%
x, unravel = ravel_pytree(jax.tree.map(jnp.asarray, params))


def of_vector(x, arrays):
    return gj.marginal_loglik(unravel(x), arrays, model)


gradient = jax.jit(jax.grad(of_vector))(x, arrays)
hessian = jax.jit(jax.hessian(of_vector))(x, arrays)
print("largest slope", float(jnp.abs(gradient).max()))
print("standard errors", np.sqrt(np.diag(np.linalg.inv(-hessian)))[:4].round(5))
print("those of fit   ", fit.bse.to_numpy().round(5))

# %% [markdown]
# ### Derivatives in the data
#
# Data are inputs like any other. How would the log-likelihood change if a herd's linear predictor
# were a little higher? That is the derivative in the offset. In total it vanishes, because the
# intercept has been fitted. By herd it is positive where a herd is worse than the typical one.


# %%
def of_offset(offset):
    moved = eqx.tree_at(lambda d: d.buckets[0].offset, arrays, offset)
    return gj.marginal_loglik(params, moved, model)


slope = jax.jit(jax.grad(of_offset))(arrays.buckets[0].offset)  # (herds, rows of a herd, 1)
print("by herd", np.asarray(slope.sum((1, 2))).round(2))
print("in total", float(slope.sum()))

# %% [markdown]
# ### Many responses at once
#
# Is the log-likelihood that we saw unusual under the model? Draw 200 responses, evaluate all of
# them in one program with `vmap`, and see where the observed one stands. Arrays in a bucket are
# padded and ordered by unit; `fit.slots.source` says which row of the data stands where.

# %%
responses = fit.simulate(200, seed=1).T  # (200, rows)
source, bucket = fit.slots.source[0], fit.data.buckets[0]
packed = jnp.asarray(responses[:, source])  # (200, units, rows of a unit)


def of_response(successes):
    y = jnp.stack([successes, bucket.y[..., 1]], axis=-1)
    return gj.marginal_loglik(params, eqx.tree_at(lambda d: d.buckets[0].y, fit.data, y), model)


simulated = jax.jit(jax.vmap(of_response))(packed)
print(f"{np.mean(simulated < fit.loglik):.1%} of {len(simulated)} lie below the observed")

# %% [markdown]
# ### Many parameters at once
#
# The likelihood along the standard deviation of herds, by Laplace and by quadrature.

# %%
sd = jnp.linspace(0.2, 1.4, 7)


def along_sd(sd, integrator):
    moved = eqx.tree_at(lambda p: p.theta, unravel(x), sd[None])
    return gj.marginal_loglik(moved, arrays, model, integrator)


curves = {
    name: jax.jit(jax.vmap(lambda s, rule=rule: along_sd(s, rule)))(sd)
    for name, rule in {"laplace": gj.Laplace(), "agq": gj.AGQ(15)}.items()
}
pd.DataFrame(curves, index=pd.Index(np.asarray(sd).round(1), name="sd")).round(3)
