"""CHGNet for whole batches, behind torch-sim's model interface."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_sim.models.interface import ModelInterface

from chggen.contracts import Contract
from chggen.potential.graph import Graph, build_graph
from chggen.potential.ops import Bags, Gate, GateWeights

D = 64


def center(w: Tensor) -> Tensor:
    return w - w.mean(-1, keepdim=True)


class Gated:
    """first: [k, 2, d, d] blocks of the first linear map; bias [2,1,d]."""

    def __init__(self, s: dict[str, Tensor], prefix: str, n_parts: int, *, hidden: bool) -> None:
        def get(kind, layer):
            return torch.stack([s[f"{prefix}.mlp_{p}.layers.{layer}.{kind}"].clone() for p in ("core", "gate")])
        w = get("weight", 0 if hidden else 1).mT  # [2, k*d, d]
        b = get("bias", 0 if hidden else 1)[:, None]
        norm = f"{prefix}.bn1.weight" in s
        h = hb = None
        if hidden:
            h, hb = get("weight", 3).mT, get("bias", 3)[:, None]
            if norm:
                h, hb = center(h), center(hb)
            h = h.contiguous()
        elif norm:
            w, b = center(w), center(b)
        scale = shift = None
        if norm:
            scale = torch.stack([s[f"{prefix}.bn{k}.weight"] for k in (1, 2)])[:, None]
            shift = torch.stack([s[f"{prefix}.bn{k}.bias"] for k in (1, 2)])[:, None]
        self.first = [x.contiguous() for x in w.split(D, 1)]
        self.bias = b
        self.rest = GateWeights(h, hb, scale, shift)

    def __call__(self, pre: Tensor) -> Tensor:
        return Gate.apply(pre, self.rest)


class CHGNetModel(ModelInterface):
    def __init__(self, name: str, args: dict[str, Any], state: dict[str, Tensor], *, contract: Contract,
                 digest: str, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.name, self.contract, self.hash = name, contract, digest
        self._device, self._dtype = device, dtype
        self._compute_stress = self._compute_forces = True
        self.atom_cutoff = float(args["atom_graph_cutoff"])
        self.bond_cutoff = float(args["bond_graph_cutoff"])
        self.p = args["cutoff_coeff"]
        s = {k: v.to(device, dtype) for k, v in state.items()}
        self.s = s
        self.n = n = args["n_conv"]
        self.atom = [Gated(s, f"atom_conv_layers.{i}.twoBody_atom", 3, hidden=True) for i in range(n)]
        self.bond = [Gated(s, f"bond_conv_layers.{i}.twoBody_bond", 4, hidden=True) for i in range(n - 1)]
        self.angle = [Gated(s, f"angle_layers.{i}.twoBody_bond", 4, hidden=False) for i in range(n - 2)]
        emb = s["bond_embedding.weight"].T  # 31, 64
        # everything linear in the radial basis: weights, bond part of each atom conv
        self.w_ag = s["bond_weights_ag.weight"].T.contiguous()
        self.emb = emb.contiguous()
        self.c_basis = [emb @ g.first[1] for g in self.atom]  # each [2, 31, 64]

    def rbf(self, d: Tensor, which: str, cutoff: float) -> Tensor:
        f = self.s[f"bond_basis_expansion.rbf_expansion_{which}.frequencies"]
        x = (d / cutoff)[:, None]
        p = self.p
        a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
        env = (1 + x**p * (a + b * x + c * x * x)) * ((2 / cutoff) ** 0.5) / d[:, None]
        return torch.sin(f * x) * env

    def forward(self, state, **kwargs):
        pos = state.positions.detach()
        cell = state.row_vector_cell.detach()
        g = build_graph(pos, cell, state.system_idx, atom_cutoff=self.atom_cutoff, bond_cutoff=self.bond_cutoff)
        vec = g.vectors.requires_grad_()
        with torch.enable_grad():
            site, mag = self.network(g, vec, state.atomic_numbers)
            (grad,) = torch.autograd.grad(site.sum(), vec, allow_unused=True) if len(vec) else (torch.zeros_like(vec),)
        site = site.detach()
        S = len(cell)
        e = site.new_zeros(S).index_add_(0, state.system_idx, site)
        f = torch.zeros_like(pos).index_add_(0, g.first, grad, alpha=-1).index_add_(0, g.second, grad)
        vir = pos.new_zeros(S, 9).index_add_(0, g.bond_system, (vec.detach()[:, :, None] * grad[:, None, :]).reshape(-1, 9)).view(S, 3, 3)
        vol = torch.linalg.det(cell).abs()
        stress = (vir + vir.mT) / 2 / vol[:, None, None]
        iso = torch.zeros(S, dtype=torch.bool, device=pos.device)
        iso[state.system_idx[g.isolated_atoms]] = True
        return {"energy": e, "forces": f, "stress": stress, "magmoms": mag.detach(), "isolated": iso}

    def network(self, g: Graph, vec: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        s = self.s
        z = z.long() - 1
        N, U, K = len(z), len(vec), len(g.short)
        d = vec.norm(dim=1)
        basis = self.rbf(d, "ag", self.atom_cutoff)
        w_ag = basis @ self.w_ag
        x = s["atom_embedding.embedding.weight"][z]
        ds = d[g.short]
        w_bg = self.rbf(ds, "bg", self.bond_cutoff) @ s["bond_weights_bg.weight"].T
        unit = vec[g.short] / ds[:, None]
        unit = torch.cat([unit, -unit])
        cos = (unit[g.left] * unit[g.right]).sum(1) * (1 - 1e-6)
        tf = torch.outer(torch.acos(cos), s["angle_basis_expansion.fourier_expansion.frequencies"])
        ab = torch.cat([torch.full_like(tf[:, :1], 0.5**0.5), tf.sin(), tf.cos()], 1) / torch.pi**0.5
        ang = ab @ s["angle_embedding.weight"].T
        left, right = g.left % max(K, 1), g.right % max(K, 1)
        # patterns
        cen = torch.cat([g.first, g.second]); nbr = torch.cat([g.second, g.first])
        one = torch.stack([cen, 2 * N + nbr], 1)
        ends = Bags.gather(torch.cat([one, one + N]), 4 * N)
        to_atom = Bags.gather(cen[:, None], N).mT
        A = len(left)
        one = torch.stack([left, right + 2 * K, g.corner + 4 * K], 1)
        off = torch.tensor([K, K, N], device=z.device)
        sides = Bags.gather(torch.cat([one, one + off]), 4 * K + 2 * N)
        lr = Bags.gather(left[:, None], K); rr = Bags.gather(right[:, None], K)
        to_bond = lr.mT
        wl = lr(w_bg) * rr(w_bg)
        bias_on = None
        if "bond_conv_layers.0.mlp_out.layers.1.bias" in s:
            has = torch.zeros(int(g.bond_system.max()) + 1 if U else 0, dtype=d.dtype, device=d.device)
            has[g.bond_system[g.short[left]]] = 1
            bias_on = has[g.bond_system][:, None]
        b0 = basis[g.short] @ self.emb  # short bond features
        sb = b0
        const = None
        mag = None
        for i in range(self.n):
            gate = self.atom[i]
            t = torch.matmul(x, torch.cat([gate.first[0], gate.first[2]]))  # [4,N,64]
            t[:2] += gate.bias
            c = torch.matmul(basis, self.c_basis[i])  # 2,U,64
            if i:
                c = c.index_add(1, g.short, torch.matmul(sb - b0, gate.first[1]))
                if const is not None:
                    c = c + bias_on * (const @ gate.first[1])[:, None]
            h = ends(t.view(4 * N, D)).view(2, 2, U, D) + c[:, None]
            m = gate(h.view(2, 2 * U, D)).view(2, U, D) * w_ag
            agg = to_atom(m.view(2 * U, D))
            x = x + F.linear(agg, s[f"atom_conv_layers.{i}.mlp_out.layers.1.weight"], s.get(f"atom_conv_layers.{i}.mlp_out.layers.1.bias"))
            if i == self.n - 2:
                mag = F.linear(x, s["site_wise.weight"], s["site_wise.bias"]).abs().squeeze(1)
            if i == self.n - 1:
                break
            if A == 0:
                continue
            def pre(gate, sb=None, x=x, ang=None):
                t = torch.cat([torch.matmul(sb, torch.cat([gate.first[0], gate.first[1]])).view(4 * K, D),
                               (torch.matmul(x, gate.first[3]) + gate.bias).view(2 * N, D)])
                return sides(t).view(2, A, D) + torch.matmul(ang, gate.first[2])
            full = sb if const is None else sb + const
            gate = self.bond[i]
            m = gate(pre(gate, full, x, ang)) * wl
            sb = sb + to_bond(m) @ s[f"bond_conv_layers.{i}.mlp_out.layers.1.weight"].T
            bias = s.get(f"bond_conv_layers.{i}.mlp_out.layers.1.bias")
            if bias is not None:
                const = bias if const is None else const + bias
            full = sb if const is None else sb + const
            if i < self.n - 2:
                gate = self.angle[i]
                ang = ang + gate(pre(gate, full, x, ang))
        if "readout_norm.weight" in s:
            x = F.layer_norm(x, (D,), s["readout_norm.weight"], s["readout_norm.bias"])
        layers = sorted({int(k.split(".")[2]) for k in s if k.startswith("mlp.layers")})
        for j, k in enumerate(layers):
            x = F.linear(x, s[f"mlp.layers.{k}.weight"], s[f"mlp.layers.{k}.bias"])
            if j < len(layers) - 1:
                x = F.silu(x)
        return x.squeeze(1) + s["composition_model.fc.weight"][0][z], mag
