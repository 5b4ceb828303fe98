(function () {
  'use strict';
  var d = document, data = d.body.dataset, bits = +data.bits, nonce = 0;
  function say(text) { d.getElementById('say').textContent = text; }
  // SHA-256 by hand: browsers have theirs on https only.
  var K = [], H = [], n = 2, i, p;
  function part(x) { return (x - Math.floor(x)) * 4294967296 | 0; }
  while (K.length < 64) {
    for (p = 2; p * p <= n && n % p; p++);
    if (p * p > n) {
      if (H.length < 8) H.push(part(Math.sqrt(n)));
      K.push(part(Math.cbrt(n)));
    }
    n++;
  }
  var w = new Int32Array(64);
  function rot(x, k) { return x >>> k | x << 32 - k; }
  // The first word of the hash of at most 55 ASCII characters.
  function first(text) {
    var l = text.length, j, t, u, a = H[0], b = H[1], c = H[2], e = H[3], f = H[4], g = H[5], h = H[6], k = H[7];
    w.fill(0);
    for (j = 0; j < l; j++) w[j >> 2] |= text.charCodeAt(j) << 24 - (j & 3) * 8;
    w[l >> 2] |= 128 << 24 - (l & 3) * 8;
    w[15] = l * 8;
    for (j = 0; j < 64; j++) {
      if (j > 15) {
        t = w[j - 15]; u = w[j - 2];
        w[j] = w[j - 16] + (rot(t, 7) ^ rot(t, 18) ^ t >>> 3) + w[j - 7] + (rot(u, 17) ^ rot(u, 19) ^ u >>> 10) | 0;
      }
      t = k + (rot(f, 6) ^ rot(f, 11) ^ rot(f, 25)) + (f & g ^ ~f & h) + K[j] + w[j] | 0;
      u = (rot(a, 2) ^ rot(a, 13) ^ rot(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
      k = h; h = g; g = f; f = e + t | 0;
      e = c; c = b; b = a; a = t + u | 0;
    }
    return a + H[0] >>> 0;
  }
  function work() {
    for (var stop = nonce + 5000; nonce < stop; nonce++)
      if (first(data.challenge + nonce) < Math.pow(2, 32 - bits)) return done();
    setTimeout(work, 0);
  }
  function done() {
    var pass = data.cookie + '=' + data.expiry + '.' + nonce, last = 0;
    d.cookie = pass + ';path=/;max-age=' + data.seconds + ';samesite=lax' + (location.protocol === 'https:' ? ';secure' : '');
    if (d.cookie.indexOf(pass) < 0) return say('This needs cookies: allow them for this site and load the page again.');
    // Twice within seconds: what was done is not accepted, and doing it again will not help.
    try {
      last = +sessionStorage.getItem(data.cookie);
      sessionStorage.setItem(data.cookie, Date.now());
    } catch (e) { }
    if (Date.now() - last > 10000) return location.reload();
    say('It was done, and is not accepted. Does your address change? Load the page again in a moment.');
  }
  work();
})();
